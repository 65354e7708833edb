"""Heads on stored features: each trains in a task, by processes that stay for the next one.

Such a training takes seconds, less than Ray Train's controller and workers take to start. It keeps
no checkpoints, and starts again where its process is lost.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from stpa.compute.desk import Step, open_desk
from stpa.compute.memory_share import memory_share, node_cpus
from stpa.compute.train import (
    POLL_SECONDS,
    OnEpoch,
    OnStep,
    known_cause,
    relay_news,
    trainings_at_once,
)
from stpa.config import ComputeConfig
from stpa.errors import InterruptedTrainingError, LostWorkersError, first_line
from stpa.interruption import is_asked_to_leave
from stpa.training.agreement import Wish
from stpa.training.fit import LastCheckpoint, Place, fit
from stpa.training.job import TrainingJob

SECONDS_BETWEEN_STEPS = 0.2
"""From one report of a step to the next: steps take milliseconds."""

Files = dict[str, bytes]
"""The files of a checkpoint, by name."""


def fit_head_on_cluster(
    job: TrainingJob,
    *,
    compute: ComputeConfig,
    on_epoch: OnEpoch,
    on_step: OnStep = lambda done, total, means: None,
    num_trainings: int = 1,
    num_known: int = 0,
) -> Files:
    """Train a head on the connected Ray cluster; return the last checkpoint.

    `on_epoch`, `on_step` and `num_trainings` are as in `fit_on_cluster`; each epoch is reported
    once, though the task may start again, and the first `num_known` not at all. Raises the task's
    StpaError; InterruptedTrainingError where this process is asked to leave; and ComputeError where
    the cluster is too small, or the task's process was lost more than `compute.max_restarts` times.
    """
    assert job.learns_from_features, "networks that decode are trained by fit_on_cluster"
    trainings_at_once(compute)
    desk = open_desk()

    def on_new_epoch(metrics: dict[str, float]) -> None:
        nonlocal num_known
        if metrics["epoch"] > num_known:
            num_known = int(metrics["epoch"])
            on_epoch(metrics)

    task = ray.remote(
        num_cpus=compute.cpus_per_worker,
        num_gpus=compute.gpus_per_worker,
        max_retries=compute.max_restarts,
        max_calls=0,  # the process stays, with what it has imported
        scheduling_strategy="DEFAULT",  # not in the room of a search's trial, which has none
    )(_fit_head)
    running = task.remote(job, desk, compute, num_trainings)
    try:
        has_ended = False
        while not has_ended:
            time.sleep(POLL_SECONDS)
            # Another thread may have left the cluster: a call would start another one.
            if is_asked_to_leave() or not ray.is_initialized():
                raise InterruptedTrainingError("stopped as asked: run it again")
            has_ended = bool(ray.wait([running], timeout=0)[0])
            relay_news(desk, on_new_epoch, on_step)  # after the look, for those of the last epoch
        return ray.get(running)
    except RayError as error:
        failure = error.cause if isinstance(error, RayTaskError) else error
        raise known_cause(failure, compute) or LostWorkersError(
            f"training failed, {compute.max_restarts} restarts allowed: {first_line(failure)}"
        ) from error
    finally:
        if ray.is_initialized():
            ray.cancel(running, force=True)
            ray.kill(desk)


class _Host(LastCheckpoint):
    """Tells the desk, too, how far the fit of a head is."""

    def __init__(self, job: TrainingJob, desk: Any, folder: Path) -> None:
        super().__init__(job, folder)
        self._desk = desk
        self._told = -SECONDS_BETWEEN_STEPS

    def after_step(self, done: int, total: int, means: Mapping[str, float]) -> Wish:
        """Report to the desk, now and then."""
        now = time.monotonic()
        if now - self._told >= SECONDS_BETWEEN_STEPS:
            self._told = now
            self._desk.put_step.remote(Step(done, total, means))
        return super().after_step(done, total, means)

    def keep(
        self, metrics: dict[str, float] | None, write_checkpoint: Callable[[Path], None]
    ) -> None:
        """Report an epoch to the desk, and write the last one's checkpoint."""
        if metrics is not None:
            ray.get(self._desk.put_epoch.remote(metrics))
        super().keep(metrics, write_checkpoint)


def _fit_head(job: TrainingJob, desk: Any, compute: ComputeConfig, num_trainings: int) -> Files:
    """Run in a worker process."""
    place = Place(
        device=compute.device, memory_share=memory_share(compute, node_cpus(), num_trainings)
    )
    with tempfile.TemporaryDirectory() as folder:
        fit(job, place, _Host(job, desk, Path(folder)))
        return {each.name: each.read_bytes() for each in Path(folder).iterdir()}
