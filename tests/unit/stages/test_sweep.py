"""A sweep with this process for its cluster: what it gives, and what it keeps as it goes."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stpa.config import Config
from stpa.data.sampling import GRIDS
from stpa.data.storage import Folder
from stpa.errors import DataError
from stpa.evaluation.k_sweep import LogitsByVideo, Sweep, sweep_video
from stpa.evaluation.unfinished import UnfinishedScores
from stpa.models.checkpoint import load_model, save_model
from stpa.models.heads import HEADS
from stpa.models.network import ActionNetwork
from stpa.optical_flow.extract import extract_video
from stpa.params import load_config
from stpa.stages import sweep as stage
from stpa.stages.sweep import sweep_on_cluster
from stpa.streams import FLOW, RGB, Stream
from stpa.workspace import Workspace
from tests.unit.evaluation.test_k_sweep import LastFrameHead
from tests.unit.models.test_network import spec_of
from tests.workspaces import (
    SMALL_FLOW,
    make_video,
    make_workspace,
    small_params,
    write_video,
)

VALUES_OF_K = (1, 4, 9)
FRAMES_PER_TASK = 7
SHORT, LONG = 7, 24
"""Frames of videos that a task looks at as a whole, and of ones that it does not."""

VIDEOS = [
    make_video(f"v{index}", split="test", num_frames=num_frames)
    for index, num_frames in enumerate([SHORT, LONG, SHORT, LONG, SHORT])
]


def make_material(workspace: Workspace) -> None:
    """Write videos, their optical flow, and an untrained network for each stream."""
    for seed, video in enumerate(VIDEOS):
        path = workspace.videos / video.path
        write_video(path, seed=seed, num_frames=video.num_frames)
        extract_video(
            path,
            workspace.optical_flow / f"{video.video_id}.avi",
            num_frames=video.num_frames,
            source_sha256=video.sha256,
            **SMALL_FLOW,
        )
    for stream in (RGB, FLOW):
        save_network(workspace, stream)


def save_network(workspace: Workspace, stream: Stream, head: str = "stpa") -> None:
    torch.manual_seed(0)
    spec = spec_of(head, stream=stream, short_side=64)
    save_model(workspace.root / stream.name, ActionNetwork(spec))


def make_config(workspace: Workspace, grid: str, **compute: Any) -> Config:
    evaluate = {"grid": grid, "frames_per_task": FRAMES_PER_TASK}
    params = small_params(evaluate=evaluate, compute=compute, optical_flow=SMALL_FLOW)
    return load_config(make_workspace(workspace.root, params).params)


def sweep_here(workspace: Workspace, stream: Stream, grid: str) -> LogitsByVideo:
    """Sweep each video as a whole."""
    network = load_model(workspace.root / stream.name)
    root = workspace.videos if stream is RGB else workspace.optical_flow
    sweep = Sweep(VALUES_OF_K, grid)
    return {video.video_id: sweep_video(network, video, Folder(root), sweep) for video in VIDEOS}


def assert_same(found: LogitsByVideo, expected: LogitsByVideo) -> None:
    assert found.keys() == expected.keys()
    for video_id, by_k in expected.items():
        assert found[video_id].keys() == by_k.keys()
        for k, logits in by_k.items():
            np.testing.assert_allclose(found[video_id][k], logits, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("sweep"))
    make_material(workspace)
    return workspace


@pytest.fixture
def workspace(made: Workspace, tmp_path: Path) -> Workspace:
    """A copy that a test may change."""
    shutil.copytree(made.root, tmp_path, dirs_exist_ok=True)
    return Workspace(tmp_path)


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each call end in this process, the last one first."""

    def map_here(
        function: Callable[[Any], Any], items: Sequence[Any], **resources: float
    ) -> Iterator[tuple[Any, Any]]:
        return ((item, function(item)) for item in reversed(items))

    monkeypatch.setattr(stage, "map_unordered", map_here)
    monkeypatch.setattr(stage, "limit_decoding", lambda seconds: None)
    monkeypatch.setattr(stage, "cluster", lambda address: nullcontext())


def sweep(workspace: Workspace, stream: Stream, grid: str, **options: Any) -> LogitsByVideo:
    config = make_config(workspace, grid)
    folder = workspace.root / stream.name
    looked_at = Sweep(VALUES_OF_K, grid)
    return sweep_on_cluster(workspace, config, stream, folder, VIDEOS, looked_at, **options)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("stream", [RGB, FLOW])
def test_videos_and_parts_of_videos_give_what_whole_videos_do(
    stream: Stream, grid: str, workspace: Workspace
) -> None:
    whole = Sweep(VALUES_OF_K, grid)
    parted = [v for v in VIDEOS if len(whole.distinct_positions(v, stream)) > FRAMES_PER_TASK]
    assert {video.num_frames for video in parted} == {LONG}
    assert_same(sweep(workspace, stream, grid), sweep_here(workspace, stream, grid))


def test_progress_is_by_the_video(workspace: Workspace) -> None:
    reports: list[tuple[int, int]] = []
    sweep(workspace, RGB, "exact", progress=lambda *report: reports.append(report))
    assert reports == [(done, len(VIDEOS)) for done in range(1, len(VIDEOS) + 1)]


def test_each_video_is_kept_though_the_next_one_fails(workspace: Workspace) -> None:
    last_first = [video.video_id for video in VIDEOS if video.num_frames == SHORT][::-1]
    (workspace.videos / f"{last_first[2]}.avi").unlink()
    unfinished = UnfinishedScores(workspace.runs / "rgb.jsonl")
    with pytest.raises(DataError):
        sweep(workspace, RGB, "exact", unfinished=unfinished)
    assert list(UnfinishedScores(workspace.runs / "rgb.jsonl").logits) == last_first[:2]


def test_long_videos_stay_whole_where_the_head_does_not_merge(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(HEADS, "last_frame", LastFrameHead)
    shutil.rmtree(workspace.root / "rgb")
    save_network(workspace, RGB, head="last_frame")
    expected = sweep_here(workspace, RGB, "exact")
    assert_same(sweep(workspace, RGB, "exact"), expected)
