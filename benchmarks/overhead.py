"""`stpa retrain` of the demo over its bare work, and the time of a rerun with nothing new.

The bare work is what Prefect, Ray, MLflow and DVC are there for: clips drawn and probed, their
optical flow, the four trainings and the K-sweep of each, by the same functions in a pool of
processes, one a core, that are up beforehand. It tracks, versions, registers and reports nothing.
The flow's time is that of the whole command, from its start to its end.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated
from unittest.mock import patch

import torch
import typer

from benchmarks.measure import Setting, figure, report, run, time_of
from stpa.compute.tasks import worker_environment
from stpa.config import Config
from stpa.data.ingest import ingest
from stpa.data.manifest import Video
from stpa.errors import ComputeError
from stpa.evaluation.k_sweep import load_and_sweep
from stpa.optical_flow.extract import extract_video
from stpa.params import load_config
from stpa.presets import preset_path
from stpa.progress import silent
from stpa.stages.initialise import initialise
from stpa.stages.plan import configured_sweep
from stpa.stages.storage import stream_storage
from stpa.stages.training_job import training_job
from stpa.streams import Stream
from stpa.terminal import TERMINAL
from stpa.training.agreement import Wish
from stpa.training.fit import Place, fit
from stpa.workspace import Workspace

DEMO = preset_path("demo")
GOAL = 1.1
RERUN_GOAL_SECONDS = 15.0
SETTING = Setting("cpu", "float32")


def main(rounds: Annotated[int, typer.Option(min=1, help="Of each.")] = 1) -> None:
    """Time the demo (some minutes), by the flow and bare."""
    flow, rerun, bare = [], [], []
    with (
        tempfile.TemporaryDirectory() as temporary,
        _cores() as pool,
        TERMINAL.bar("bare work and flow in turn") as progress,
    ):
        for turn in range(2 * rounds + 1):  # bare, flow, bare, ..., bare
            workspace = Workspace(Path(temporary) / str(turn))
            initialise(workspace, DEMO)
            if turn % 2:
                flow.append(time_of(partial(_retrain, workspace), SETTING).wall)
                rerun.append(time_of(partial(_retrain, workspace), SETTING).wall)
            else:
                work = partial(_work, workspace, load_config(workspace.params), pool)
                bare.append(time_of(work, SETTING).wall)
            progress(turn + 1, 2 * rounds + 1)
    goal_seconds = [RERUN_GOAL_SECONDS] * (rounds + 1)
    report(
        "overhead",
        [
            figure("retrain over its bare work", flow, bare, bound=GOAL, unit="s"),
            figure("unchanged rerun over 15 s", rerun, goal_seconds, bound=1.0, unit="s"),
        ],
        SETTING,
    )


def _retrain(workspace: Workspace) -> None:
    command = Path(sys.executable).with_name("stpa")
    done = subprocess.run(
        [command, "retrain", "--workspace", workspace.root],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ComputeError(f"stpa retrain failed: {done.stderr.strip()[-1000:]}")


def _cores() -> ProcessPoolExecutor:
    """Start a process for each core, with what the work imports."""
    count = len(os.sched_getaffinity(0))
    pool = ProcessPoolExecutor(count, get_context("spawn"), initializer=_use_one_core)
    with patch.dict(os.environ, worker_environment()):
        list(pool.map(time.sleep, [1.0] * count))
    return pool


def _use_one_core() -> None:
    import cv2

    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _work(workspace: Workspace, config: Config, pool: Executor) -> None:
    manifest = ingest(workspace, config.data, None, silent)
    list(pool.map(partial(_extract, workspace, config), manifest.usable))
    for head in config.heads:
        list(pool.map(partial(_train, workspace, config, head), config.streams))
    for head, stream in product(config.heads, config.streams):
        sweep = partial(
            load_and_sweep,
            model_folder=_model(workspace, stream, head),
            source=stream_storage(workspace, config, stream),
            sweep=configured_sweep(config),
            device=config.compute.device,
        )
        list(pool.map(sweep, manifest.select("test")))


def _extract(workspace: Workspace, config: Config, video: Video) -> None:
    extract_video(
        workspace.videos / video.path,
        workspace.optical_flow / video.flow_path,
        **config.optical_flow.model_dump(),
        num_frames=video.num_frames,
        source_sha256=video.sha256,
    )


def _train(workspace: Workspace, config: Config, head: str, stream: Stream) -> None:
    job = training_job(workspace, config, stream, head)
    fit(job, Place(device=config.compute.device), _Keeper(_model(workspace, stream, head)))


def _model(workspace: Workspace, stream: Stream, head: str) -> Path:
    return workspace.runs / f"{stream}-{head}"


class _Keeper:
    """Keeps the last checkpoint alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def after_step(self, done: int, total: int, means: Mapping[str, float]) -> Wish:
        """Go on."""
        return Wish.GO_ON

    def keep(
        self, metrics: dict[str, float] | None, write_checkpoint: Callable[[Path], None]
    ) -> None:
        """Put it in the place of the one before."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        write_checkpoint(self._folder)


if __name__ == "__main__":
    run(main)
