"""Train one network on the Ray cluster, once for its inputs."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from stpa.compute.heads import fit_head_on_cluster
from stpa.compute.tasks import cluster
from stpa.compute.train import fit_on_cluster, remove_checkpoints, storage_of
from stpa.config import Config
from stpa.data.versioning import DataVersion, read_version
from stpa.errors import ModelError
from stpa.files import atomic_path, read_json, write_json
from stpa.models.checkpoint import SPEC_FILE, WEIGHTS_FILE
from stpa.progress import ReportProgress, silent
from stpa.registry.lineage import collect_lineage, run_name
from stpa.registry.tracking import Dataset, Tracker, open_tracker
from stpa.stages.tracked_metrics import track_epoch, tracked_epochs
from stpa.stages.training_job import training_job
from stpa.stages.training_key import training_key
from stpa.stages.training_progress import TrainingProgress
from stpa.streams import Stream
from stpa.training.checkpoint import PROGRESS_FILE
from stpa.training.job import TrainingJob
from stpa.training.learning import Problem
from stpa.workspace import Workspace

_KEPT = (SPEC_FILE, WEIGHTS_FILE, PROGRESS_FILE)
"""The files of a last checkpoint that outlive its training."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedModel:
    """A trained network and where it came from."""

    stream: Stream
    head: str
    key: str
    """Digest of everything that decides the weights."""
    folder: Path
    """Its model folder (`stpa.models.checkpoint`)."""
    run_id: str
    """Its run in MLflow."""
    reused: bool
    """Whether it was there already."""
    problems: tuple[Problem, ...]
    """What its training found to keep it from learning."""

    @property
    def name(self) -> str:
        """As `TrainingJob.name`."""
        return f"{self.stream} {self.head}"


def train(
    workspace: Workspace,
    config: Config,
    stream: Stream,
    head: str,
    progress: ReportProgress = silent,
) -> TrainedModel:
    """Train `stream`'s network with `head`, unless it is there from the same inputs.

    Killed and called again, it goes on from the last checkpoint.
    """
    data = read_version(workspace.root)
    run = _run_folder(workspace, config, stream, head, data)
    tracker = open_tracker(workspace, config.tracking)
    if run.done.exists() and tracker.find_run(run.key) == run.read_record().run_id:
        logger.info("%s %s is trained already from the same inputs (%s)", stream, head, run.key)
        return _trained(run, reused=True)

    run_id = tracker.open_run(
        run.key,
        run_name(
            stream.name, head, key=run.key, backbone=config.model.backbone, data_version=data.id
        ),
        config.model_dump(mode="json"),
        collect_lineage(data) | {"stream": stream.name, "head": head},
    )
    try:
        job = training_job(workspace, config, stream, head)
        tracker.log_dataset(run_id, training_videos(workspace, data, job))
        if not run.result.exists():
            _fit(job, config, run, run_id, tracker, progress)
        _log_lost_epochs(tracker, run_id, run)
        tracker.log_files(run_id, run.model, "network")
        tracker.log_files(run_id, run.result / PROGRESS_FILE)
        problems = _judge_learning(job, run)
        _tag_problems(tracker, run_id, problems)
    except BaseException:
        tracker.close_run(run_id, failed=True)
        raise
    tracker.close_run(run_id)
    remove_checkpoints(storage_of(config.compute, run.checkpoints))
    write_json(run.done, asdict(_Record(run_id, tuple(problems))))
    return _trained(run, reused=False)


def is_trained(workspace: Workspace, config: Config, stream: Stream, head: str) -> bool:
    """Tell whether the network is trained from today's data and parameters."""
    data = read_version(workspace.root)
    return _run_folder(workspace, config, stream, head, data).done.exists()


def find_trained(workspace: Workspace, config: Config, stream: Stream, head: str) -> TrainedModel:
    """Return the network trained from today's inputs; raise ModelError where there is none."""
    run = _run_folder(workspace, config, stream, head, read_version(workspace.root))
    if not run.done.exists():
        raise ModelError(
            f"no {stream} network with head {head} is trained from the current data and "
            "parameters: run `stpa train` first"
        )
    return _trained(run, reused=True)


@dataclass(frozen=True)
class _Record:
    """What is kept of a training that has ended."""

    run_id: str
    problems: tuple[Problem, ...] = ()  # trainings of older versions were not judged


@dataclass(frozen=True)
class _Run:
    """The files of one training."""

    stream: Stream
    head: str
    key: str
    folder: Path

    @property
    def checkpoints(self) -> Path:
        """Ray Train's storage, while it trains."""
        return self.folder / "checkpoints"

    @property
    def result(self) -> Path:
        """The model folder and the history; there once training has ended."""
        return self.folder / "result"

    @property
    def model(self) -> Path:
        return self.result / "model"

    @property
    def done(self) -> Path:
        """There once MLflow has everything too."""
        return self.folder / "done.json"

    def read_record(self) -> _Record:
        """Return the record of a training that is done. Raises ModelError where it is broken."""
        try:
            return TypeAdapter(_Record).validate_json(self.done.read_bytes())
        except ValidationError as error:
            raise ModelError(
                f"{self.done} is not the record of a training: remove it and run `stpa train`, "
                f"which writes it again from {self.result}"
            ) from error


def _run_folder(
    workspace: Workspace, config: Config, stream: Stream, head: str, data: DataVersion
) -> _Run:
    key = training_key(config, stream, head, data)
    return _Run(stream, head, key, workspace.runs / "train" / f"{stream}-{head}-{key}")


def _trained(run: _Run, *, reused: bool) -> TrainedModel:
    record = run.read_record()
    return TrainedModel(
        run.stream, run.head, run.key, run.model, record.run_id, reused, record.problems
    )


def training_videos(workspace: Workspace, data: DataVersion, job: TrainingJob) -> Dataset:
    """Return what MLflow is told of the videos of a training or a search."""
    return Dataset(workspace.name, "train", data, len(job.videos), job.class_names)


def _fit(
    job: TrainingJob,
    config: Config,
    run: _Run,
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
                storage=storage_of(config.compute, run.checkpoints),
                compute=config.compute,
                decode_seconds=config.data.decode_deadline_seconds,
                on_epoch=on_epoch,
                on_step=told.on_step,
                num_trainings=len(config.streams),
            )
            with checkpoint.as_directory() as folder:
                files = {name: (Path(folder) / name).read_bytes() for name in _KEPT}
    with atomic_path(run.result) as temporary:
        model = temporary / run.model.name
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


def _judge_learning(job: TrainingJob, run: _Run) -> list[Problem]:
    """Return what was wrong with a training that has ended."""
    last = read_json(run.result / PROGRESS_FILE)["history"][-1]
    check = job.learning_check
    problems = [*check.before(), *check.after(last)]
    for problem in problems:
        if not problem.has_learnt:
            logger.error("%s has learnt nothing: %s", job.name, problem.message)
    return problems


def _log_lost_epochs(tracker: Tracker, run_id: str, run: _Run) -> None:
    """Log the epochs that a kill kept from MLflow after their checkpoint was written."""
    logged = tracked_epochs(tracker, run_id)
    for metrics in read_json(run.result / PROGRESS_FILE)["history"]:
        if metrics["epoch"] not in logged:
            track_epoch(tracker, run_id, metrics)
