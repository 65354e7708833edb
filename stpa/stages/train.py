"""Train one network on the Ray cluster, once for its inputs."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from stpa.compute.heads import fit_head_on_cluster
from stpa.compute.tasks import cluster
from stpa.compute.train import fit_on_cluster, remove_checkpoints, storage_of
from stpa.config import Config
from stpa.data.versioning import DataVersion
from stpa.errors import ModelError
from stpa.files import atomic_path, read_json, write_json
from stpa.models.checkpoint import SPEC_FILE, WEIGHTS_FILE
from stpa.progress import ReportProgress, silent
from stpa.registry.lineage import collect_lineage, run_name
from stpa.registry.tracking import Dataset, Tracker, open_tracker
from stpa.stages.plan import Network, Plan
from stpa.stages.tracked_metrics import track_epoch, tracked_epochs
from stpa.stages.training_job import training_job
from stpa.stages.training_progress import TrainingProgress
from stpa.training.checkpoint import PROGRESS_FILE
from stpa.training.job import TrainingJob
from stpa.training.learning import Problem
from stpa.workspace import Workspace

_KEPT = (SPEC_FILE, WEIGHTS_FILE, PROGRESS_FILE)
"""The files of a last checkpoint that outlive its training."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedModel:
    """A trained network, and what is known of its training."""

    network: Network
    run_id: str
    """Its run in MLflow."""
    problems: tuple[Problem, ...]
    """What its training found to keep it from learning."""
    reused: bool = True
    """Whether it was there already."""

    @property
    def folder(self) -> Path:
        """Its model folder (`stpa.models.checkpoint`)."""
        return self.network.model


def train(plan: Plan, network: Network, progress: ReportProgress = silent) -> TrainedModel:
    """Train a network of the plan, unless it is there from the same inputs.

    Killed and called again, it goes on from the last checkpoint.
    """
    config, stream, head = plan.config, network.stream, network.head
    tracker = open_tracker(plan.workspace, config.tracking)
    if network.is_trained and tracker.find_run(network.key) == _read_record(network).run_id:
        logger.info("%s is trained already from the same inputs (%s)", network.name, network.key)
        return find_trained(network)

    name = run_name(
        *(stream.name, head),
        key=network.key,
        backbone=config.model.backbone,
        data_version=plan.data.id,
    )
    run_id = tracker.open_run(
        network.key,
        name,
        config.model_dump(mode="json"),
        collect_lineage(plan.data) | {"stream": stream.name, "head": head},
    )
    try:
        job = training_job(plan.workspace, config, stream, head)
        tracker.log_dataset(run_id, training_videos(plan.workspace, plan.data, job))
        if not network.result.exists():
            _fit(job, config, network, run_id, tracker, progress)
        _log_lost_epochs(tracker, run_id, network)
        tracker.log_files(run_id, network.model, "network")
        tracker.log_files(run_id, network.result / PROGRESS_FILE)
        problems = _judge_learning(job, network)
        _tag_problems(tracker, run_id, problems)
    except BaseException:
        tracker.close_run(run_id, failed=True)
        raise
    tracker.close_run(run_id)
    remove_checkpoints(storage_of(config.compute, network.checkpoints))
    write_json(network.record, asdict(_Record(run_id, tuple(problems))))
    return replace(find_trained(network), reused=False)


def find_trained(network: Network) -> TrainedModel:
    """Return a network that is trained; raise ModelError where it is not."""
    if not network.is_trained:
        raise ModelError(
            f"no {network.stream} network with head {network.head} is trained from the current "
            "data and parameters: run `stpa train` first"
        )
    record = _read_record(network)
    return TrainedModel(network, record.run_id, record.problems)


@dataclass(frozen=True)
class _Record:
    """What is kept of a training that has ended."""

    run_id: str
    problems: tuple[Problem, ...] = ()  # trainings of older versions were not judged


def _read_record(network: Network) -> _Record:
    """Return the record of a training that is done. Raises ModelError where it is broken."""
    try:
        return TypeAdapter(_Record).validate_json(network.record.read_bytes())
    except ValidationError as error:
        raise ModelError(
            f"{network.record} is not the record of a training: remove it and run `stpa train`, "
            f"which writes it again from {network.result}"
        ) from error


def training_videos(workspace: Workspace, data: DataVersion, job: TrainingJob) -> Dataset:
    """Return what MLflow is told of the videos of a training or a search."""
    return Dataset(workspace.name, "train", data, len(job.videos), job.class_names)


def _fit(
    job: TrainingJob,
    config: Config,
    network: Network,
    run_id: str,
    tracker: Tracker,
    progress: ReportProgress,
) -> None:
    """Train on the cluster, and keep the model folder and the history."""
    check = job.learning_check
    logger.info(
        "%s: %d clips, %d epochs of %d steps",
        *(job.name, len(job.videos), job.num_epochs, job.steps_per_epoch),
    )
    if job.starts_warm:
        logger.info(
            "%s: before that, %d steps of the head alone, on features",
            *(job.name, job.of_head.num_steps),
        )
    told = TrainingProgress(job, progress)
    warn = _WarnOnce(job.name, lambda problems: _tag_problems(tracker, run_id, problems))
    warn(check.before())

    def on_epoch(metrics: dict[str, float]) -> None:
        track_epoch(tracker, run_id, metrics)
        told.on_epoch(metrics)
        warn(check.after(metrics))

    with cluster(config.compute.address):
        if job.learns_from_features:
            files = fit_head_on_cluster(
                job,
                compute=config.compute,
                on_epoch=on_epoch,
                on_step=told.on_step,
                num_trainings=len(config.streams),
            )
        else:
            checkpoint = fit_on_cluster(
                job,
                storage=storage_of(config.compute, network.checkpoints),
                compute=config.compute,
                decode_seconds=config.data.decode_deadline_seconds,
                on_epoch=on_epoch,
                on_step=told.on_step,
                num_trainings=len(config.streams),
            )
            with checkpoint.as_directory() as folder:
                files = {name: (Path(folder) / name).read_bytes() for name in _KEPT}
    with atomic_path(network.result) as temporary:
        model = temporary / network.model.name
        model.mkdir(parents=True)
        for name in (SPEC_FILE, WEIGHTS_FILE):
            (model / name).write_bytes(files[name])
        (temporary / PROGRESS_FILE).write_bytes(files[PROGRESS_FILE])


class _WarnOnce:
    """Logs the problems of a training under way, each of them once, and passes all on."""

    def __init__(self, name: str, on_new: Callable[[Iterable[Problem]], None]) -> None:
        self._name = name
        self._on_new = on_new
        self._told: dict[str, Problem] = {}

    def __call__(self, problems: Iterable[Problem]) -> None:
        new = {each.name: each for each in problems if each.name not in self._told}
        for problem in new.values():
            logger.warning("%s: %s", self._name, problem.message)
        self._told |= new
        if new:
            self._on_new(self._told.values())


def _tag_problems(tracker: Tracker, run_id: str, problems: Iterable[Problem]) -> None:
    tracker.tag_run(run_id, {"stpa.problems": "; ".join(map(str, problems)) or "none"})


def _judge_learning(job: TrainingJob, network: Network) -> list[Problem]:
    """Return what was wrong with a training that has ended."""
    last = read_json(network.result / PROGRESS_FILE)["history"][-1]
    check = job.learning_check
    problems = [*check.before(), *check.after(last)]
    for problem in problems:
        if not problem.has_learnt:
            logger.error("%s has learnt nothing: %s", job.name, problem.message)
    return problems


def _log_lost_epochs(tracker: Tracker, run_id: str, network: Network) -> None:
    """Log the epochs that a kill kept from MLflow after their checkpoint was written."""
    logged = tracked_epochs(tracker, run_id)
    for metrics in read_json(network.result / PROGRESS_FILE)["history"]:
        if metrics["epoch"] not in logged:
            track_epoch(tracker, run_id, metrics)
