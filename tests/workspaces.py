"""Small real datasets and workspaces, and the command line on them."""

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import yaml

from stpa.data.manifest import Video
from stpa.files import digest_file
from stpa.models.checkpoint import WEIGHTS_FILE
from stpa.optical_flow.extract import extract_video
from stpa.params import read_params
from stpa.registry.tracking import Tracker
from stpa.workspace import Workspace

REPOSITORY = Path(__file__).parents[1]
CLASSES = ("läuft weg", "winkt")
NUM_GROUPS = 4
NUM_EPOCHS = 8
"""Enough of them that a kill after the first is before the last."""

RULES = {
    "same_data_version": {},
    "knows_all_classes": {},
    "no_worse_than_champion": {"min_gain": 0.0},
}
"""Without above_chance: so few videos cannot show it."""

SMALL_FLOW: dict[str, Any] = {
    "estimator": "farneback",
    "options": {},
    "bound_px": 8.0,
    "width": 64,
    "height": 64,
}
"""Settings of the optical flow of videos as small as `write_video` writes them."""

STPA = Path(sys.executable).with_name("stpa")
MARK = "STPA_TEST_MARK"
SECONDS_TO_COME = 300.0
SECONDS_TO_FOLLOW = 60.0
"""For Ray's processes to find that the one that started them is gone."""


def write_video(path: Path, seed: int, size: int = 64, num_frames: int = 5) -> None:
    """Write a texture that moves to the right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 255, (size, size, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(25))
        stream.width, stream.height = size, size
        for step in range(num_frames):
            frame = av.VideoFrame.from_ndarray(np.roll(image, step, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_video_and_flow(root: Path, num_frames: int, size: int = 64) -> None:
    """Write `a.avi` as `write_video` does, and its optical flow below `flow`."""
    write_video(root / "a.avi", seed=0, size=size, num_frames=num_frames)
    extract_video(
        root / "a.avi",
        root / "flow" / "a.avi",
        num_frames=num_frames,
        source_sha256="",
        **SMALL_FLOW,
    )


def write_plain_video(path: Path, level: int, size: int = 64, num_frames: int = 5) -> None:
    """Write gray noise between `level` and 20 more: what any network tells apart at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(level)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(25))
        stream.width, stream.height = size, size
        for _ in range(num_frames):
            noise = rng.integers(level, level + 20, (size, size, 3)).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        container.mux(stream.encode())


def make_video(name: str = "a", **changes: Any) -> Video:
    """Return a video of the manifest, as `write_video` might have written it."""
    values = {
        "video_id": name,
        "path": f"{name}.avi",
        "labels": ("left",),
        "intervals": (),
        "group": "g1",
        "split": "train",
        "num_frames": 5,
        "fps": 25,
        "width": 64,
        "height": 64,
        "sha256": "0" * 64,
        "status": "ok",
        "reason": "",
    }
    return Video.model_validate(values | changes)


def write_dataset(folder: Path, num_frames: int = 5) -> Path:
    """Write one video for each class and recording."""
    for label in CLASSES:
        for group in range(NUM_GROUPS):
            name = f"v_g{group:02}_c01.avi"
            write_video(folder / label / name, seed=group, num_frames=num_frames)
    return folder


def small_params(**changes: dict[str, Any]) -> dict[str, Any]:
    """Return params.yaml for networks that train in seconds; `changes` by section."""
    stream = {"epochs": NUM_EPOCHS, "learning_rate": 0.004, "new_layer_rate": 1, "dropout": 0.2}
    params = read_params(REPOSITORY / "params.yaml")
    streams = params["train"]["streams"]
    small: dict[str, dict[str, Any]] = {
        "optical_flow": {"estimator": "dis", "width": 64, "height": 64},
        "model": {
            "backbone": "mobilenetv3_small_050",
            "pretrained": False,
            "top_layer": "C",  # attention to places: all of the layer
            "num_scales": 3,
        },
        "train": {
            "input_size": 64,
            "short_side": 64,
            "batch_size": 2,
            "optimizer": "adamw",
            "freeze_batch_norm": "none",
            "min_steps_per_epoch": 1,
            "warm_start": "none",
            "streams": {name: each | stream for name, each in streams.items()},
        },
        "evaluate": {"num_segments": 3, "sweep": [1, 3], "late_fusion": "average_logits"},
        "promotion": {"model_name": "small", "rules": RULES, "candidate": "stpa"},
        "compute": {"loader_processes": 0},  # which would take longer to start than the training
    }
    for sections in (small, changes):
        for section, values in sections.items():
            params[section] |= values
    return params


def make_workspace(root: Path, params: dict[str, Any]) -> Workspace:
    """Write what `stpa init` writes."""
    workspace = Workspace(root)
    root.mkdir(parents=True, exist_ok=True)
    workspace.params.write_text(yaml.safe_dump(params, allow_unicode=True), encoding="utf-8")
    (root / "dvc.yaml").write_bytes((REPOSITORY / "dvc.yaml").read_bytes())
    return workspace


def copy_data(retrained: Workspace, root: Path, address: str, **train: Any) -> Workspace:
    """Make a workspace of the data of `retrained`, without its results."""
    shutil.copytree(
        retrained.root, root, ignore=shutil.ignore_patterns("runs", "mlflow", "prefect", "report")
    )
    params = small_params(compute={"address": address}, train=train)
    return make_workspace(root, params)


def all_runs(tracker: Tracker) -> list[Any]:
    """Return all runs of a workspace whose only experiment is that of its params.yaml."""
    [experiment] = [e for e in tracker.client.search_experiments() if e.name != "Default"]
    return list(tracker.client.search_runs([experiment.experiment_id]))


def kind_of(run: Any) -> str:
    """Return what a run in MLflow is of, which its name begins with: stream or fusion, and head."""
    return run.info.run_name.split()[0].rpartition("-")[0]


def checkpointed(workspace: Workspace) -> list[Path]:
    """Return the trainings under way that have a checkpoint to go on from."""
    found = workspace.runs.glob("train/*/checkpoints/checkpoint_manager_snapshot.json")
    return [path.parents[1] for path in found]


def weights(workspace: Workspace) -> dict[str, str]:
    """Map each training, without the digest of its inputs, to the digest of its weights."""
    found = workspace.runs.glob(f"train/*/result/model/{WEIGHTS_FILE}")
    return {path.parents[2].name.rpartition("-")[0]: digest_file(path) for path in found}


def run_stpa(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process of its own."""
    return subprocess.run(
        [STPA, *arguments], capture_output=True, text=True, timeout=600, **options
    )


def kill_stpa(*arguments: str | Path, when: Callable[[], bool]) -> None:
    """Start the command line, and kill its process group at the moment when `when` is true.

    Returns when all that it started elsewhere, as Ray does, has ended by itself.
    """
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        [STPA, *arguments],
        env=os.environ | {MARK: mark},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        await_moment(when, process)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    await_end(mark)


def await_moment(
    when: Callable[[], bool],
    process: subprocess.Popen[Any],
    seconds: float = SECONDS_TO_COME,
) -> None:
    """Return at the moment when `when` is true, while `process` is still running."""
    deadline = time.monotonic() + seconds
    while not when():
        assert process.poll() is None, "it ended before the moment came"
        assert time.monotonic() < deadline, "the moment does not come"
        time.sleep(0.01)


def await_end(mark: str) -> None:
    """Return when all processes that inherited `mark` have ended."""
    deadline = time.monotonic() + SECONDS_TO_FOLLOW
    while left := _marked(mark):
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.2)


def _marked(mark: str) -> list[str]:
    """Name the processes that inherited `mark`."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == mark:
                found.append(" ".join(process.cmdline()))
    return found
