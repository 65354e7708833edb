"""Ray Train around `stpa.training.fit`: data-parallel workers, checkpoints, restarts."""

import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import ray
import ray.train
import ray.train.torch
from ray.exceptions import OutOfMemoryError
from ray.train import ControllerError, TrainingFailedError, WorkerGroupError
from ray.util.placement_group import PlacementGroup

from stpa.compute.desk import News, Step, open_desk
from stpa.compute.fail_fast import FailFast
from stpa.compute.memory_share import memory_share, node_cpus
from stpa.compute.tasks import count_slots
from stpa.config import ComputeConfig
from stpa.errors import ComputeError, InterruptedTrainingError, LostWorkersError, StpaError
from stpa.files import digest_value
from stpa.interruption import is_asked_again, is_asked_to_leave
from stpa.training.agreement import Wish
from stpa.training.fit import Place, fit
from stpa.training.job import TrainingJob

MAX_CONTROLLER_FAILURES = 3
"""Restarts of what watches the workers; Ray's default is without end."""
WAIT_SECONDS = 7 * 24 * 3600.0
"""For room on the cluster, while others' work takes it; Ray's default is a minute."""
ELASTIC_WAIT_SECONDS = 20.0
"""The same where fewer workers will do: a node that has just been lost may have been counted on."""
POLL_SECONDS = 0.2
LEAVE_SECONDS = 300.0
"""For the workers to end a step and write a checkpoint; where there are none, nobody would."""
GO_ON = "run it again to go on from its last checkpoint"
NOTICE_STEPS = 20
"""Steps from one look to the next at whether a node is about to be taken away: all workers look
together, which costs milliseconds, and notice is given a minute or two before."""

logger = logging.getLogger(__name__)

OnEpoch = Callable[[dict[str, float]], None]
OnStep = Callable[[int, int, Mapping[str, float]], None]
OnGroup = Callable[[PlacementGroup], None]


def fit_on_cluster(
    job: TrainingJob,
    *,
    storage: str,
    compute: ComputeConfig,
    decode_seconds: float,
    on_epoch: OnEpoch,
    on_step: OnStep = lambda done, total, means: None,
    on_group: OnGroup = lambda group: None,
    num_trainings: int = 1,
) -> ray.train.Checkpoint:
    """Train on the connected Ray cluster; return the last checkpoint.

    `storage` is this run's own folder or s3:// address: called again with the same one, after a
    kill for instance, the run goes on from its last checkpoint. In this process, `on_epoch` is
    called with each epoch's metrics, `on_step` several times per second, from the first step on,
    with the steps done, all steps, and means over the epoch so far (`LossGuard.means`, of the
    clips of rank 0), and `on_group` with what the workers hold of the cluster, when they start.
    Up to `num_trainings` at once, this one included, share the memory of a node.

    Raises a worker's StpaError at once, as it would come again; InterruptedTrainingError where
    this process is asked to leave (`stpa.interruption`); and ComputeError when the cluster is too
    small, or workers failed or were lost more than `compute.max_restarts` times.
    """
    trainings_at_once(compute)
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    wait_seconds = ELASTIC_WAIT_SECONDS if compute.fewest_workers else WAIT_SECONDS
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(wait_seconds)
    desk = open_desk()
    trainer = ray.train.torch.TorchTrainer(
        # A closure: of arguments that Ray passes, the controller would import all the modules.
        lambda: _work(job, desk, compute, decode_seconds, num_trainings),
        scaling_config=_scaling(compute),
        run_config=ray.train.RunConfig(
            **_place_of(storage),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
            failure_config=ray.train.FailureConfig(
                max_failures=compute.max_restarts, controller_failure_limit=MAX_CONTROLLER_FAILURES
            ),
            logging_config=ray.train.LoggingConfig(log_level="ERROR"),
            callbacks=[FailFast()],
        ),
    )
    relay = partial(relay_news, desk, on_epoch, on_step, on_group)
    try:
        result = _fit_in_background(trainer)
        _follow(result, desk, relay, job.name)
        relay()
        checkpoint = result.result().checkpoint
    except TrainingFailedError as error:
        raise _cause(error, compute) from error
    finally:
        if ray.is_initialized():  # an interrupt may have left the cluster; `kill` would start one
            ray.kill(desk)
    assert checkpoint is not None, "every epoch reports a checkpoint"
    return checkpoint


def storage_of(compute: ComputeConfig, folder: Path) -> str:
    """Return where a run keeps checkpoints: `folder`, or a place of its own elsewhere."""
    if compute.checkpoints is None:
        return str(folder)
    # Others may train the same from the same data, in workspaces of theirs.
    name = f"{folder.parent.name}-{folder.name}-{digest_value(str(folder.resolve()))}"
    return f"{compute.checkpoints.rstrip('/')}/{name}"


def remove_checkpoints(storage: str) -> None:
    """Remove what `fit_on_cluster` has left there, if anything."""
    if "://" not in storage:
        shutil.rmtree(storage, ignore_errors=True)
        return
    filesystem, path = fsspec.url_to_fs(storage)
    if filesystem.exists(path):
        filesystem.rm(path, recursive=True)


def _fit_in_background(trainer: ray.train.torch.TorchTrainer) -> Future[ray.train.Result]:
    """Fit in a thread that does not keep the process alive: an interrupt must end it."""
    result: Future[ray.train.Result] = Future()

    def run() -> None:
        try:
            result.set_result(trainer.fit())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return result


def _follow(
    result: Future[ray.train.Result], desk: Any, relay: Callable[[], News], name: str
) -> None:
    """Relay what the workers report until they have ended; have them leave if asked to.

    Raises InterruptedTrainingError where there are none that could, or no time to.
    """
    has_started, leaving_since = False, None
    while not result.done():
        time.sleep(POLL_SECONDS)
        if is_asked_again() or not ray.is_initialized():  # a call would start another cluster
            raise InterruptedTrainingError(f"stopped at once: {GO_ON}")
        news = relay()
        has_started = has_started or news.group is not None
        if not is_asked_to_leave():
            continue
        if not has_started:
            raise InterruptedTrainingError("stopped as asked before it began: run it again")
        if leaving_since is None:
            leaving_since = time.monotonic()
            logger.info(
                "%s leaves after this step, with a checkpoint; asked again, it leaves at once, "
                "and loses the steps since the last one",
                name,
            )
            desk.ask_to_leave.remote()
        elif time.monotonic() - leaving_since > LEAVE_SECONDS:
            raise InterruptedTrainingError(f"stopped as asked, though no step ended: {GO_ON}")


def trainings_at_once(compute: ComputeConfig) -> int:
    """Return how many trainings the cluster has room for; raise ComputeError for none."""
    workers = compute.fewest_workers or compute.workers_per_stream
    wanted = {name: workers * amount for name, amount in _resources(compute).items()}
    return count_slots(wanted, f"training with {workers} worker(s)")


class _Worker:
    """Hosts the fit of one worker process."""

    def __init__(self, rank: int, desk: Any) -> None:
        self._rank = rank
        self._desk = desk
        self._answer: ray.ObjectRef | None = None
        self._is_noticed = False

    def after_step(self, done: int, total: int, means: Mapping[str, float]) -> Wish:
        """Tell the desk, and look for what it and the cluster wish."""
        wish = Wish.GO_ON
        if not self._is_noticed and done % NOTICE_STEPS == 0:
            self._is_noticed = ray.train.get_preemption_info() is not None
            wish = Wish.CHECKPOINT if self._is_noticed else Wish.GO_ON
        if self._rank == 0 and self._has_answered():
            if self._answer is not None and ray.get(self._answer):
                wish = Wish.LEAVE
            self._answer = self._desk.put_step.remote(Step(done, total, means))
        return wish

    def keep(
        self, metrics: dict[str, float] | None, write_checkpoint: Callable[[Path], None]
    ) -> None:
        """Send the checkpoint to the run's storage."""
        if self._rank > 0:
            ray.train.report(metrics or {})
            return
        with tempfile.TemporaryDirectory() as folder:
            write_checkpoint(Path(folder))
            checkpoint = ray.train.Checkpoint.from_directory(folder)
            ray.train.report(metrics or {}, checkpoint=checkpoint)
        if metrics is not None:
            ray.get(self._desk.put_epoch.remote(metrics))

    def _has_answered(self) -> bool:
        return self._answer is None or bool(ray.wait([self._answer], timeout=0)[0])


def _work(
    job: TrainingJob,
    desk: Any,
    compute: ComputeConfig,
    decode_seconds: float,
    num_trainings: int,
) -> None:
    """Run in every worker process."""
    context = ray.train.get_context()
    place = Place(
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
        device=str(ray.train.torch.get_device()),
        loader_processes=compute.loader_processes,
        decode_seconds=decode_seconds,
        checkpoint_steps=compute.checkpoint_steps,
        memory_share=memory_share(compute, node_cpus(), num_trainings),
    )
    host = _Worker(place.rank, desk)
    if place.rank == 0:
        ray.get(desk.put_group.remote(ray.util.get_current_placement_group()))
    checkpoint = ray.train.get_checkpoint()
    with checkpoint.as_directory() if checkpoint else nullcontext() as folder:
        fit(job, place, host, resume_from=Path(folder) if folder else None)


def _scaling(compute: ComputeConfig) -> ray.train.ScalingConfig:
    fewest, most = compute.fewest_workers, compute.workers_per_stream
    return ray.train.ScalingConfig(
        num_workers=(fewest, most) if fewest else most,
        use_gpu=compute.gpus_per_worker > 0,
        resources_per_worker=_resources(compute),
    )


def _place_of(storage: str) -> dict[str, Any]:
    """Return where Ray keeps the checkpoints, as its RunConfig takes it."""
    if "://" not in storage:
        path = Path(storage).resolve()
        return {"name": path.name, "storage_path": str(path.parent)}
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    filesystem, path = fsspec.url_to_fs(storage)
    folder, _, name = path.rpartition("/")
    return {
        "name": name,
        "storage_path": folder,
        "storage_filesystem": PyFileSystem(FSSpecHandler(filesystem)),
    }


def _resources(compute: ComputeConfig) -> dict[str, float]:
    resources = {"CPU": compute.cpus_per_worker}
    return resources | ({"GPU": compute.gpus_per_worker} if compute.gpus_per_worker else {})


def relay_news(
    desk: Any, on_epoch: OnEpoch, on_step: OnStep, on_group: OnGroup = lambda group: None
) -> News:
    """Pass on what has been reported since the last time, and return it."""
    news: News = ray.get(desk.take.remote())
    if news.group is not None:
        on_group(news.group)
    for metrics in news.epochs:
        on_epoch(metrics)
    if news.step is not None:
        on_step(news.step.done, news.step.total, news.step.means)
    return news


def _cause(error: TrainingFailedError, compute: ComputeConfig) -> StpaError:
    failures: list[Exception] = []
    if isinstance(error, WorkerGroupError):
        failures += error.worker_failures.values()
    elif isinstance(error, ControllerError):
        failures.append(error.controller_failure)
    for failure in failures:
        if known := known_cause(failure, compute):
            return known
    last_line = str(error).strip().splitlines()[-1]
    return LostWorkersError(
        f"training failed, {compute.max_restarts} restarts allowed: {last_line}"
    )


def known_cause(failure: BaseException, compute: ComputeConfig) -> StpaError | None:
    """Return the error, in our own words, that ended a training's process; None for any other."""
    if isinstance(failure, StpaError):
        return failure
    if not isinstance(failure, OutOfMemoryError):
        return None
    lower = ", compute.loader_processes" if compute.loader_processes else ""
    return ComputeError(
        "a node of the cluster ran out of memory: close other programs, set "
        f"train.clips_at_once to auto or lower, lower train.input_size{lower} or "
        "train.num_segments, or raise compute.cpus_per_worker, so that fewer trainings "
        "share a node"
    )
