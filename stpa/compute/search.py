"""Ray Tune around `stpa.compute.train`: trials at the same time, the poor ones stopped early."""

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import ray.tune
import ray.util.client
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
from ray.tune.search import Searcher
from ray.util.placement_group import PlacementGroup, remove_placement_group

from stpa.compute.heads import fit_head_on_cluster
from stpa.compute.train import fit_on_cluster, storage_of, trainings_at_once
from stpa.config import ComputeConfig, ModelConfig, TrainConfig
from stpa.errors import ComputeError, LostWorkersError, StpaError, one_line
from stpa.files import read_json
from stpa.search.space import EarlyStopping
from stpa.training.checkpoint import PROGRESS_FILE
from stpa.training.job import TrainingJob
from stpa.training.validation import validation_metric

_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # an interrupt ends the search, not only its waiting
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a fault has no figure
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one speaks even where it is told not to
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
_FIGURE = "figure"


@dataclass(frozen=True)
class Attempt:
    """What one trial trains with."""

    number: int
    model: ModelConfig
    train: TrainConfig
    epochs_done: int
    """Epochs that are known already of a trial that goes on after a kill."""


@runtime_checkable
class Trials(Protocol):
    """Says what to try and is told what comes of it, all in the process that searches."""

    def start(self) -> Attempt | None:
        """Return the next trial, or None after the last one."""
        ...

    def on_epoch(self, number: int, metrics: dict[str, float]) -> None:
        """Hear of one epoch of a trial."""
        ...

    def on_end(self, number: int, fault: str | None) -> None:
        """Hear that a trial has run to its end, was stopped, or failed for a `fault`."""
        ...


def run_trials(
    trials: Trials,
    job: TrainingJob,
    *,
    num_trials: int,
    folder: Path,
    early_stopping: EarlyStopping | None,
    max_epochs: int,
    max_concurrent: int | None,
    compute: ComputeConfig,
    decode_seconds: float,
) -> None:
    """Train up to `num_trials` variants of `job` on the connected cluster, as many at once as it
    has room for.

    Each trains in `folder`'s sub-folder of its number (`checkpoints_of`), and goes on from the
    checkpoint that it has there. `max_epochs` are those of the longest. What `trials` raise is
    raised here, and ends the rest; ComputeError: the cluster has no room for one training.
    """
    if ray.util.client.ray.is_connected():
        raise ComputeError(
            "Ray Tune does not work over Ray Client: give compute.address as the cluster's Jobs "
            "API, http://host:8265, or, on a node of it, as host:6379"
        )
    room = trainings_at_once(compute)
    at_once = min(room, max_concurrent or room)
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    folder = folder.resolve()
    state = folder / "tune"  # of no use to a later search, which goes by its own record
    shutil.rmtree(state, ignore_errors=True)
    trainable = ray.tune.with_parameters(
        _train,
        job=job,
        folder=folder,
        compute=compute,
        decode_seconds=decode_seconds,
        num_trainings=at_once,
    )
    caught = _Caught()
    tuner = ray.tune.Tuner(
        # The workers hold the CPUs. Were a trial to hold any share of one, two trainings that
        # fill the cluster would wait for each other.
        ray.tune.with_resources(trainable, {"CPU": 0, "memory": 1}),
        tune_config=ray.tune.TuneConfig(
            metric=_FIGURE,
            mode="max",
            search_alg=_Suggestions(trials, caught),
            scheduler=_scheduler(early_stopping, max_epochs),
            num_samples=num_trials,
            max_concurrent_trials=at_once,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=ray.tune.RunConfig(
            name=state.name,
            storage_path=str(folder),
            callbacks=[_Listener(trials, caught)],
            failure_config=ray.tune.FailureConfig(max_failures=compute.max_restarts),
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    except ray.tune.TuneError as error:
        if caught.error is None:
            raise
        raise caught.error from error


def checkpoints_of(folder: Path, number: int) -> Path:
    """Return where a trial has its checkpoints."""
    return folder / f"trial-{number}"


def _train(
    config: dict[str, Any],
    *,
    job: TrainingJob,
    folder: Path,
    compute: ComputeConfig,
    decode_seconds: float,
    num_trainings: int,
) -> None:
    """Run in a trial's own process, which outlives neither a stop nor the search."""
    attempt: Attempt = config["attempt"]
    done, groups = attempt.epochs_done, []

    def report(metrics: dict[str, float]) -> None:
        nonlocal done
        done = int(metrics["epoch"])
        figure = metrics[validation_metric(job.multi_label)]
        ray.tune.report(
            {"epoch": done, _FIGURE: figure, "metrics": metrics, "groups": list(groups)}
        )

    variant = replace(job, model=attempt.model, train=attempt.train)
    # Tune tries again. A training that did so itself would, when its trial is stopped and the room
    # given back, at once take some anew, which nobody gives back.
    compute = compute.model_copy(update={"max_restarts": 0})
    try:
        if variant.learns_from_features:
            fit_head_on_cluster(
                variant,
                compute=compute,
                on_epoch=report,
                num_trainings=num_trainings,
                num_known=done,
            )
            return
        checkpoint = fit_on_cluster(
            variant,
            storage=storage_of(compute, checkpoints_of(folder, attempt.number)),
            compute=compute,
            decode_seconds=decode_seconds,
            on_epoch=report,
            on_group=groups.append,
            num_trainings=num_trainings,
        )
    except LostWorkersError:
        raise
    except StpaError as error:  # raised, it would come to the search without its words
        ray.tune.report({"fault": one_line(error)})
        return
    # A kill can come between an epoch's checkpoint and its report.
    with checkpoint.as_directory() as last:
        history = read_json(Path(last) / PROGRESS_FILE)["history"]
    for metrics in history[done:]:
        report(metrics)


class _Caught:
    """Keeps what a block raises: Tune passes on its text alone."""

    error: BaseException | None = None

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        self.error = self.error or error


class _Unkept:
    """Leaves nothing in the pickles of Tune's own state, which nobody reads."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Suggestions(_Unkept, Searcher):
    """Hands Tune the next trial."""

    def __init__(self, trials: Trials, caught: _Caught) -> None:
        super().__init__(metric=_FIGURE, mode="max")
        self._trials = trials
        self._caught = caught

    def suggest(self, trial_id: str) -> dict[str, Any] | str:  # pyright: ignore[reportIncompatibleMethodOverride]
        with self._caught:
            attempt = self._trials.start()
        return Searcher.FINISHED if attempt is None else {"attempt": attempt}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Do nothing: `_Listener` hears of it with the reason."""

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing of it in Tune's own state."""


class _Listener(_Unkept, ray.tune.Callback):
    """Passes on what comes of trials."""

    def __init__(self, trials: Trials, caught: _Caught) -> None:
        self._trials = trials
        self._caught = caught
        self._faults: dict[int, str] = {}
        self._groups: dict[int, list[PlacementGroup]] = {}

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: Any, **info: Any
    ) -> None:
        if "fault" in result:
            self._faults[_number(trial)] = result["fault"]
            return
        self._groups[_number(trial)] = result["groups"]
        with self._caught:
            self._trials.on_epoch(_number(trial), result["metrics"])

    def on_trial_complete(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        number = _number(trial)
        self._release(number)
        with self._caught:
            self._trials.on_end(number, self._faults.pop(number, None))

    def on_trial_error(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        self._release(_number(trial))
        with self._caught:
            self._trials.on_end(_number(trial), "its process was lost: see the logs of Ray")

    def _release(self, number: int) -> None:
        """Give back what a trial's workers held, should Ray Train not have done so.

        It leaves that to a cleaner, which gives up where the cluster is slow to answer.
        """
        for group in self._groups.pop(number, []):
            remove_placement_group(group)


def _scheduler(
    early_stopping: EarlyStopping | None, max_epochs: int
) -> ASHAScheduler | FIFOScheduler:
    if early_stopping is None:
        return FIFOScheduler()
    return ASHAScheduler(
        time_attr="epoch",
        grace_period=early_stopping.grace_epochs,
        max_t=max(max_epochs, early_stopping.grace_epochs),
        reduction_factor=early_stopping.reduction_factor,
        stop_last_trials=False,  # who has come to the last epoch ends by itself
    )


def _number(trial: TuneTrial) -> int:
    return trial.config["attempt"].number


def _name(trial: TuneTrial) -> str:
    return f"trial-{_number(trial)}"
