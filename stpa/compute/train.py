"""Ray Train around `stpa.training.fit`: data-parallel workers, checkpoints, restarts."""

import os
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
from ray.train import ControllerError, TrainingFailedError, UserCallback, WorkerGroupError
from ray.util.queue import Empty, Queue

from stpa.compute.tasks import count_slots
from stpa.config import ComputeConfig
from stpa.errors import ComputeError, StpaError
from stpa.training.fit import Place, TrainingJob, fit

MAX_WORKER_FAILURES = 2
"""Restarts from the last checkpoint before a run is given up; Ray's default is without end."""
MAX_CONTROLLER_FAILURES = 3
POLL_SECONDS = 0.2

OnEpoch = Callable[[dict[str, float]], None]


def fit_on_cluster(
    job: TrainingJob,
    *,
    storage: Path,
    compute: ComputeConfig,
    decode_seconds: float,
    on_epoch: OnEpoch,
) -> Path:
    """Train on the connected Ray cluster; return the folder of the last checkpoint.

    `storage` is this run's own folder: called again with the same one, after a kill for
    instance, the run goes on from its last checkpoint. `on_epoch` is called in this process with
    each epoch's metrics. Raises a worker's StpaError at once, as it would come again, and
    ComputeError when the cluster is too small or workers failed or were lost more than
    `MAX_WORKER_FAILURES` times.
    """
    trainings_at_once(compute)
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    messages = Queue(actor_options={"num_cpus": 0})
    trainer = ray.train.torch.TorchTrainer(
        _work,
        train_loop_config={
            "job": job,
            "messages": messages,
            "loader_processes": compute.loader_processes,
            "decode_seconds": decode_seconds,
        },
        scaling_config=ray.train.ScalingConfig(
            num_workers=compute.workers_per_stream,
            use_gpu=compute.gpus_per_worker > 0,
            resources_per_worker=_resources(compute),
        ),
        run_config=ray.train.RunConfig(
            name=storage.name,
            storage_path=str(storage.parent.resolve()),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
            failure_config=ray.train.FailureConfig(
                max_failures=MAX_WORKER_FAILURES, controller_failure_limit=MAX_CONTROLLER_FAILURES
            ),
            logging_config=ray.train.LoggingConfig(log_level="ERROR"),
            callbacks=[_FailFast()],
        ),
    )
    try:
        result = _fit_in_background(trainer)
        while not result.done():
            _relay(messages, on_epoch, POLL_SECONDS)
        _relay(messages, on_epoch, timeout=None)
        checkpoint = result.result().checkpoint
    except TrainingFailedError as error:
        raise _cause(error) from error
    finally:
        messages.shutdown(force=True)
    assert checkpoint is not None, "every epoch reports a checkpoint"
    return Path(checkpoint.path)


class _FailFast(UserCallback):
    """Ends the training where the workers' own error says that a restart will not help.

    Ray counts restarts alike for every error of a worker; what a callback raises it never retries.
    """

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        for error in worker_exceptions.values():
            if isinstance(error, StpaError) and not error.transient:
                raise error


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


def trainings_at_once(compute: ComputeConfig) -> int:
    """Return how many trainings the cluster has room for; raise ComputeError for none."""
    workers = compute.workers_per_stream
    wanted = {name: workers * amount for name, amount in _resources(compute).items()}
    return count_slots(wanted, f"training with {workers} worker(s)")


def _work(config: dict[str, Any]) -> None:
    """Run in every worker process."""
    context = ray.train.get_context()
    place = Place(
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
        device=str(ray.train.torch.get_device()),
        loader_processes=config["loader_processes"],
        decode_seconds=config["decode_seconds"],
    )

    def on_epoch(metrics: dict[str, float], write_checkpoint: Callable[[Path], None]) -> None:
        if place.rank > 0:
            ray.train.report(metrics)
            return
        with tempfile.TemporaryDirectory() as folder:
            write_checkpoint(Path(folder))
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))
        config["messages"].put(metrics)

    checkpoint = ray.train.get_checkpoint()
    with checkpoint.as_directory() if checkpoint else nullcontext() as folder:
        resume_from = Path(folder) if folder else None
        fit(config["job"], place, on_epoch=on_epoch, resume_from=resume_from)


def _resources(compute: ComputeConfig) -> dict[str, float]:
    resources = {"CPU": compute.cpus_per_worker}
    return resources | ({"GPU": compute.gpus_per_worker} if compute.gpus_per_worker else {})


def _relay(messages: Queue, on_epoch: OnEpoch, timeout: float | None) -> None:
    """Pass on the epochs that have been reported, waiting up to `timeout` s for the first."""
    try:
        while True:
            on_epoch(messages.get(block=timeout is not None, timeout=timeout))
    except Empty:
        return


def _cause(error: TrainingFailedError) -> StpaError:
    failures: list[Exception] = []
    if isinstance(error, WorkerGroupError):
        failures += error.worker_failures.values()
    elif isinstance(error, ControllerError):
        failures.append(error.controller_failure)
    for failure in failures:
        if isinstance(failure, StpaError):
            return failure
    last_line = str(error).strip().splitlines()[-1]
    return ComputeError(f"training was given up after {MAX_WORKER_FAILURES} restarts: {last_line}")
