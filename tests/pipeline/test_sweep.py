"""A sweep on a real Ray cluster: what it gives, and what is left of it when it is killed."""

import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
import torch

from stpa.compute.tasks import cluster
from stpa.config import Config, Stream
from stpa.data.manifest import Video
from stpa.data.sampling import GRIDS
from stpa.evaluation.k_sweep import LogitsByVideo, num_frames_looked_at, sweep_video
from stpa.evaluation.unfinished import UnfinishedScores
from stpa.models.checkpoint import load_model, save_model
from stpa.models.network import ActionNetwork
from stpa.optical_flow.extract import extract_video
from stpa.params import load_config
from stpa.stages.sweep import sweep_on_cluster
from stpa.workspace import Workspace
from tests.unit.models.test_network import SPEC
from tests.workspaces import make_workspace, small_params, write_video

SWEEP = [1, 4, 9]
FRAMES_PER_TASK = 7
SHORT, LONG = 7, 24
"""Frames of videos that a task looks at as a whole, and of ones that it does not."""

VIDEOS = [
    Video(
        video_id=f"v{index}",
        path=f"v{index}.avi",
        label="left",
        group="g1",
        split="test",
        num_frames=num_frames,
        fps=25,
        width=64,
        height=64,
        sha256="0" * 64,
        status="ok",
        reason="",
    )
    for index, num_frames in enumerate([SHORT, LONG, SHORT, LONG, SHORT, SHORT, SHORT])
]
FLOW = {"estimator": "farneback", "bound_px": 8.0, "width": 64, "height": 64}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster that all tests share."""
    with cluster(None):
        yield ray.get_runtime_context().gcs_address


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Videos, their optical flow, and an untrained network for each stream."""
    workspace = Workspace(tmp_path_factory.mktemp("sweep"))
    for seed, video in enumerate(VIDEOS):
        path = workspace.videos / video.path
        write_video(path, seed=seed, num_frames=video.num_frames)
        extract_video(
            path,
            workspace.optical_flow / f"{video.video_id}.avi",
            num_frames=video.num_frames,
            source_sha256="",
            **FLOW,
        )
    for stream in Stream:
        torch.manual_seed(0)
        network = ActionNetwork(replace(SPEC, stream=stream.value, short_side=64))
        save_model(workspace.root / stream.value, network)
    return workspace


@pytest.fixture
def workspace(made: Workspace, tmp_path: Path) -> Workspace:
    """A copy that a test may change."""
    shutil.copytree(made.root, tmp_path, dirs_exist_ok=True)
    return Workspace(tmp_path)


def make_config(workspace: Workspace, grid: str, address: str) -> Config:
    evaluate = {"grid": grid, "frames_per_task": FRAMES_PER_TASK, "shard_size": 2}
    params = small_params(evaluate=evaluate, compute={"address": address})
    return load_config(make_workspace(workspace.root, params).params)


def sweep_here(workspace: Workspace, stream: Stream, grid: str) -> LogitsByVideo:
    network = load_model(workspace.root / stream.value)
    root = workspace.videos if stream is Stream.RGB else workspace.optical_flow
    return {video.video_id: sweep_video(network, video, root, SWEEP, grid=grid) for video in VIDEOS}


def assert_same(found: LogitsByVideo, expected: LogitsByVideo) -> None:
    assert found.keys() == expected.keys()
    for video_id, by_k in expected.items():
        assert found[video_id].keys() == by_k.keys()
        for k, logits in by_k.items():
            np.testing.assert_allclose(found[video_id][k], logits, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("stream", Stream)
def test_cluster_gives_each_video_what_one_process_does(
    stream: Stream, grid: str, workspace: Workspace, address: str
) -> None:
    parted = [v for v in VIDEOS if num_frames_looked_at(v, stream, SWEEP, grid) > FRAMES_PER_TASK]
    assert {video.num_frames for video in parted} == {LONG}
    config = make_config(workspace, grid, address)
    reports: list[tuple[int, int]] = []
    found = sweep_on_cluster(
        workspace,
        config,
        stream,
        workspace.root / stream.value,
        VIDEOS,
        SWEEP,
        progress=lambda done, total: reports.append((done, total)),
    )
    assert_same(found, sweep_here(workspace, stream, grid))
    done = [done for done, total in reports]
    assert done == sorted(set(done))
    assert reports[-1] == (len(VIDEOS), len(VIDEOS))


def sweep_and_keep(workspace: Workspace, address: str, kill_at: int | None = None) -> LogitsByVideo:
    """Sweep with a file of unfinished scores; when `kill_at` videos are done, kill this process."""

    def progress(done: int, total: int) -> None:
        if done == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    return sweep_on_cluster(
        workspace,
        make_config(workspace, "exact", address),
        Stream.RGB,
        workspace.root / "rgb",
        VIDEOS,
        SWEEP,
        unfinished=UnfinishedScores(workspace.runs / "rgb.jsonl"),
        progress=progress,
    )


def test_sweep_that_was_killed_looks_only_at_what_is_missing(
    workspace: Workspace, address: str
) -> None:
    expected = sweep_here(workspace, Stream.RGB, "exact")
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
