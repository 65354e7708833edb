"""A sweep on a real Ray cluster: what it gives, and what is left of it when it is killed."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from stpa.compute.tasks import cluster
from stpa.evaluation.k_sweep import LogitsByVideo, Sweep
from stpa.evaluation.unfinished import UnfinishedScores
from stpa.stages.sweep import sweep_on_cluster
from stpa.streams import RGB
from stpa.workspace import Workspace
from tests.unit.stages.test_sweep import (
    VALUES_OF_K,
    VIDEOS,
    assert_same,
    make_config,
    make_material,
    sweep_here,
)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster that stays when a driver is killed."""
    with cluster(None):
        yield ray.get_runtime_context().gcs_address


def sweep_and_keep(workspace: Workspace, address: str, kill_at: int | None = None) -> LogitsByVideo:
    """Sweep with a file of unfinished scores; when `kill_at` videos are done, kill this process."""

    def progress(done: int, total: int, *_details: object) -> None:
        if done == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    return sweep_on_cluster(
        workspace,
        make_config(workspace, "exact", address=address),
        RGB,
        workspace.root / "rgb",
        VIDEOS,
        Sweep(VALUES_OF_K, "exact"),
        unfinished=UnfinishedScores(workspace.runs / "rgb.jsonl"),
        progress=progress,
    )


def test_sweep_that_was_killed_looks_only_at_what_is_missing(tmp_path: Path, address: str) -> None:
    workspace = Workspace(tmp_path)
    make_material(workspace)
    expected = sweep_here(workspace, RGB, "exact")
    all_but_one = len(VIDEOS) - 1
    process = multiprocessing.get_context("spawn").Process(
        target=sweep_and_keep, args=(workspace, address, all_but_one)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    held = UnfinishedScores(workspace.runs / "rgb.jsonl").logits
    assert len(held) == all_but_one
    for video_id in held:  # whoever looks at them again will fail
        (workspace.videos / f"{video_id}.avi").unlink()
    assert_same(sweep_and_keep(workspace, address), expected)
    assert_same(UnfinishedScores(workspace.runs / "rgb.jsonl").logits, expected)
