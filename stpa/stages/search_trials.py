"""The trials of a search as they run: chosen, kept, and tracked below the search's own run."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stpa.compute.search import Attempt, checkpoints_of
from stpa.compute.train import remove_checkpoints, storage_of
from stpa.config import Config
from stpa.files import digest_value
from stpa.params import find_faults
from stpa.progress import ReportProgress
from stpa.registry.lineage import run_name
from stpa.registry.tracking import Tracker
from stpa.search.study import Outcome, Study, Trial
from stpa.stages.search_plan import with_values
from stpa.stages.tracked_metrics import track_epoch
from stpa.stages.training_progress import describe_epoch
from stpa.streams import Stream

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchRun:
    """One search, and where its trials are kept."""

    stream: Stream
    head: str
    key: str
    """Digest of everything that decides what is found, but for the number of trials."""
    folder: Path

    @property
    def record(self) -> Path:
        """The study's file."""
        return self.folder / "trials.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Of the trials that have not ended."""
        return self.folder / "checkpoints"

    @property
    def picture(self) -> Path:
        """All trials' figures."""
        return self.folder / "trials.png"

    @property
    def done(self) -> Path:
        """There once MLflow has everything too."""
        return self.folder / "done.json"


class TrackedTrials:
    """Answers `stpa.compute.search`: see `Trials` there."""

    def __init__(
        self,
        study: Study,
        config: Config,
        run: SearchRun,
        *,
        num_trials: int,
        metric: str,
        tracker: Tracker,
        parent: str,
        lineage: Mapping[str, str],
        progress: ReportProgress,
    ) -> None:
        """Have the runs of trials below the run `parent`; `metric` judges an epoch."""
        self._study = study
        self._config = config
        self._run = run
        self._num_trials = num_trials
        self._metric = metric
        self._tracker = tracker
        self._parent = parent
        self._lineage = lineage
        self._progress = progress
        self._num_started = len(study.ended)
        self._running: dict[int, tuple[str, int]] = {}
        """By number, the run in MLflow and the epochs of a whole training."""

    def start(self) -> Attempt | None:
        """Return the next trial; those whose values are not sound together fail here."""
        while self._num_started < self._num_trials:
            self._num_started += 1
            trial = self._study.next_trial()
            run_id = self._open_run(trial)
            params = with_values(self._config, trial.values)
            if faults := find_faults(params):
                self._end(trial.number, run_id, Outcome.FAILED, "; ".join(faults))
                continue
            config = Config.model_validate(params)
            epochs = config.train.stream(self._run.stream).epochs
            self._running[trial.number] = run_id, epochs
            return Attempt(trial.number, config.model, config.train, trial.epoch)
        return None

    def on_epoch(self, number: int, metrics: dict[str, float]) -> None:
        """Track and keep the metrics of an epoch, and log its line."""
        run_id, num_epochs = self._running[number]
        track_epoch(self._tracker, run_id, metrics)
        self._study.add_figure(number, int(metrics["epoch"]), metrics[self._metric])
        name = f"{self._run.stream} {self._run.head} trial {number}"
        logger.info("%s", describe_epoch(name, metrics, num_epochs))

    def on_end(self, number: int, fault: str | None) -> None:
        """Track and keep how a trial ended; its checkpoints are of no more use."""
        run_id, epochs = self._running.pop(number)
        if fault is not None:
            outcome = Outcome.FAILED
        elif self._study.trials[number].epoch == epochs:
            outcome = Outcome.FINISHED
        else:
            outcome = Outcome.STOPPED
        self._end(number, run_id, outcome, fault or "")
        place = checkpoints_of(self._run.checkpoints, number)
        remove_checkpoints(storage_of(self._config.compute, place))

    def give_up(self) -> None:
        """Say in MLflow that what still runs has failed; called again, the search reopens it."""
        for run_id, _ in self._running.values():
            self._tracker.close_run(run_id, failed=True)

    def _end(self, number: int, run_id: str, outcome: Outcome, reason: str) -> None:
        self._tracker.tag_run(run_id, {"outcome": outcome.value, "reason": reason})
        self._tracker.close_run(run_id, failed=outcome is Outcome.FAILED)
        self._study.end(number, outcome, reason)  # last: it is not looked at again
        self._progress(len(self._study.ended), self._num_trials)

    def _open_run(self, trial: Trial) -> str:
        name = run_name(
            *(f"trial-{trial.number}", self._run.stream.name, self._run.head),
            key=self._run.key,
            backbone=self._config.model.backbone,
            data_version=self._lineage["data.version"],
        )
        key = digest_value([self._run.key, trial.number])
        return self._tracker.open_run(key, name, trial.values, self._lineage, self._parent)
