"""`stpa doctor` says how much memory training needs, and how much is free."""

from pathlib import Path
from typing import Any

import pytest

from stpa.errors import StpaError
from stpa.params import load_config
from stpa.stages import memory as stage
from stpa.stages.memory import PROGRAM_BYTES, describe_memory
from tests.workspaces import make_workspace, small_params

FROZEN = {"freeze_batch_norm": "all", "batch_size": 32}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 16)


def describe(root: Path, monkeypatch: pytest.MonkeyPatch, free: int, **changes: Any) -> str:
    """Describe it where `free` bytes are left of the worker's part next to its program."""
    monkeypatch.setattr(stage, "free_memory", lambda device: 2 * (PROGRAM_BYTES + free))
    workspace = make_workspace(root, small_params(**changes))
    return describe_memory(workspace, load_config(workspace.params))


def test_both_networks_are_told_before_anything_is_ingested(tmp_path, monkeypatch):
    told = describe(tmp_path, monkeypatch, 2_000_000_000, train=FROZEN)
    rgb, flow = told.split(", ")
    assert rgb.startswith("rgb needs 0.0 GB with 4 of 32 clips at once")
    assert flow.endswith("; 2.0 GB are free for each of 2 worker(s)")


@pytest.mark.parametrize(
    ("clips_at_once", "message"),
    [
        ("auto", "one clip at once needs about"),
        (8, "rgb needs 0.0 GB with 8 of 32 clips at once, and 0.0 GB are free for it: set train"),
    ],
)
def test_too_little_memory_is_told(tmp_path, monkeypatch, clips_at_once, message):
    train = FROZEN | {"clips_at_once": clips_at_once}
    with pytest.raises(StpaError) as raised:
        describe(tmp_path, monkeypatch, 1_000_000, train=train)
    assert str(raised.value).startswith(message)


def test_the_memory_of_a_cluster_is_its_workers_business(tmp_path, monkeypatch):
    told = describe(tmp_path, monkeypatch, 0, compute={"address": "10.0.0.1:6379"})
    assert told.endswith("the memory of its node of the cluster at 10.0.0.1:6379")
