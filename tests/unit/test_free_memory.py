"""Free memory is that of the tightest limit: the host's, or one of a control group."""

from pathlib import Path

import psutil
import pytest

from stpa.free_memory import free_host_memory

UNIFIED = ("memory.max", "memory.current", "inactive_file")
SEPARATE = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def write_group(folder: Path, names: tuple[str, str, str], *values: object) -> None:
    limit, usage, reclaimable = names
    folder.mkdir(parents=True, exist_ok=True)
    (folder / limit).write_text(f"{values[0]}\n")
    (folder / usage).write_text(f"{values[1]}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{reclaimable} {values[2]}\nfile 9\n")


def write_membership(root: Path, *lines: str) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        ((1000, 400, 50), ("max", 900, 0), 650),
        ((1000, 400, 50), (1200, 900, 100), 400),  # others take of the outer group's limit, too
        ((1000, 1010, 0), ("max", 900, 0), 0),
    ],
)
def test_a_control_group_and_those_around_it_limit_memory(tmp_path, inner, outer, expected):
    write_membership(tmp_path, "0::/box/job")
    write_group(tmp_path / "sys/fs/cgroup/box/job", UNIFIED, *inner)
    write_group(tmp_path / "sys/fs/cgroup/box", UNIFIED, *outer)
    assert free_host_memory(tmp_path) == expected


def test_a_container_that_sees_its_group_as_the_root_is_limited(tmp_path):
    write_membership(tmp_path, "0::/not/here")
    write_group(tmp_path / "sys/fs/cgroup", UNIFIED, 1000, 400, 0)
    assert free_host_memory(tmp_path) == 600


def test_version_1_of_control_groups_limits_memory(tmp_path):
    write_membership(tmp_path, "9:cpu,cpuacct:/job", "4:memory:/job", "0::/")
    write_group(tmp_path / "sys/fs/cgroup/memory/job", SEPARATE, 1000, 400, 10)
    assert free_host_memory(tmp_path) == 610


@pytest.mark.parametrize("lines", [None, (), ("0::/job",)])
def test_without_limits_it_is_the_hosts_memory(tmp_path, lines):
    if lines is not None:
        write_membership(tmp_path, *lines)
    found = free_host_memory(tmp_path)
    assert found == pytest.approx(psutil.virtual_memory().available, rel=0.5)
