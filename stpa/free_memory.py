"""How much memory is free on a GPU or on this host, within the limits of its control groups."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

ROOT = Path("/")
_UNIFIED = ("memory.max", "memory.current", "inactive_file")
_SEPARATE = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
"""For versions 2 and 1 of Linux' control groups: the files of a group's limit and usage, and what
memory.stat calls the part of the usage that the kernel takes back when it is needed."""


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free on `device`; for a CPU, those of its host."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return free_host_memory()


def free_host_memory(root: Path = ROOT) -> int:
    """Return the bytes that this process can take before its host or container is short of them.

    `root` is where the operating system's files are.
    """
    return max(0, min([psutil.virtual_memory().available, *_left_in_groups(root)]))


def _left_in_groups(root: Path) -> Iterator[int]:
    """Yield what each control group that limits this process leaves; other systems have none."""
    listed = root / "proc/self/cgroup"
    if not listed.exists():
        return
    for line in listed.read_text().splitlines():
        _number, controllers, path = line.split(":", 2)
        if not controllers:
            mounted, names = root / "sys/fs/cgroup", _UNIFIED
        elif "memory" in controllers.split(","):
            mounted, names = root / "sys/fs/cgroup/memory", _SEPARATE
        else:
            continue
        # The limits of outer groups hold too. A container may see its own group as the root alone.
        group = mounted / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(mounted):
                yield from _left_in_group(folder, *names)


def _left_in_group(folder: Path, limit: str, usage: str, reclaimable: str) -> Iterator[int]:
    try:
        most, used = (folder / limit).read_text().strip(), int((folder / usage).read_text())
        statistics = dict(
            line.split() for line in (folder / "memory.stat").read_text().splitlines()
        )
    except OSError:  # no such group here, or none that limits memory
        return
    if most != "max":
        yield int(most) - used + int(statistics.get(reclaimable, 0))
