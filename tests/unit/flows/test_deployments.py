"""What `infra/prefect.yaml` says, and what is told of a file like it that is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stpa.errors import ConfigError
from stpa.flows import deployments
from stpa.flows.deployments import DEFAULT_FILE, local_timezone, read_entries
from stpa.workspace import Workspace
from tests.workspaces import REPOSITORY

INFRA = REPOSITORY / "infra" / "prefect.yaml"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "my project")


def test_the_package_has_the_file_of_infra():
    assert DEFAULT_FILE.resolve() == INFRA.resolve()


def test_its_versions_are_those_that_run_together():
    pinned = dict(
        line.split("==") for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
    )
    assert yaml.safe_load(INFRA.read_text())["prefect-version"] == pinned["prefect"]


def test_each_entrypoint_and_parameter_exists_and_no_two_runs_overlap(workspace):
    entries = read_entries(workspace, INFRA)
    assert [entry.name for entry in entries] == ["nightly-my project", "watch-my project"]
    for entry in entries:
        assert entry.parameters.keys() <= entry.flow().parameters.properties.keys()
        assert entry.parameters["root"] == str(workspace.root)
        limit = entry.concurrency_limit
        assert (limit.limit, limit.collision_strategy) == (1, "CANCEL_NEW")
    nightly, watch = entries
    assert watch.parameters["deployment"] == f"{nightly.flow().name}/{nightly.name}"


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "an unknown flow": (
        lambda entry: entry.update(entrypoint="stpa.flows.scheduled.weekly"),
        "stpa.flows.scheduled.weekly of nightly-my project: .* no attribute 'weekly'",
    ),
    "an unknown module": (
        lambda entry: entry.update(entrypoint="stpa.nowhere.nightly"),
        "stpa.nowhere.nightly of nightly-my project: No module named",
    ),
    "an unknown parameter": (
        lambda entry: entry["parameters"].update(roots="x"),
        "of nightly-my project: .*roots",
    ),
    "an unknown key": (lambda entry: entry.update(cron="0 2 * * *"), "cron: Extra inputs"),
    "a missing key": (lambda entry: entry.pop("work_pool"), "work_pool: Field required"),
    "a strategy": (
        lambda entry: entry["concurrency_limit"].update(collision_strategy="WAIT"),
        "concurrency_limit.collision_strategy: Input should be 'CANCEL_NEW' or 'ENQUEUE'",
    ),
}


@pytest.mark.parametrize(("spoil", "told"), FAULTS.values(), ids=FAULTS)
def test_a_fault_in_a_file_is_one_line(workspace, tmp_path, spoil, told):
    tree = yaml.safe_load(INFRA.read_text())
    spoil(tree["deployments"][0])
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match=told):
        read_entries(workspace, file)[0].flow()


def test_a_wrong_cron_names_its_schedule(workspace):
    nightly, _ = read_entries(workspace, INFRA)
    schedule = nightly.schedules[0].model_copy(update={"cron": "at two"})
    with pytest.raises(ConfigError, match=r"schedule nightly, 'at two': .*"):
        deployments._cron(schedule)


@pytest.mark.parametrize("text", ["", "deployments: 3", "[", "name: x"])
def test_a_file_of_something_else_is_one_line(workspace, tmp_path, text):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"mine\.yaml lists no deployments"):
        read_entries(workspace, file)


@pytest.mark.parametrize(("zone", "name"), [("Europe/Vienna", "Europe/Vienna"), ("x", "UTC")])
def test_a_night_is_one_here(monkeypatch, zone, name):
    monkeypatch.setenv("TZ", zone)
    if not Path("/usr/share/zoneinfo", name).exists():
        pytest.skip("this machine has no time zones")
    assert local_timezone() == name
