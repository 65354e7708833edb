"""What to try next, by Optuna's TPE, and a record of the trials that outlives a kill."""

from enum import StrEnum
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import BaseModel, ConfigDict

from stpa.files import append_record, digest_value, read_records
from stpa.search.space import Choices, Range, Space


class Outcome(StrEnum):
    """How a trial ended."""

    FINISHED = "finished"
    STOPPED = "stopped early"
    FAILED = "failed"


_PLACES: dict[Outcome | None, int] = {outcome: place for place, outcome in enumerate(Outcome)}


class Trial(BaseModel):
    """One set of values, and what training with it has shown so far."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    values: dict[str, Any]
    """By dotted key of params.yaml."""
    figures: dict[int, float] = {}
    """By epoch, in [0, 1], more is better; a kill can take one away."""
    outcome: Outcome | None = None
    """None: it has not ended."""
    reason: str = ""
    """Why it failed."""

    @property
    def epoch(self) -> int:
        """The last finished one, counted from 1; 0 before it."""
        return max(self.figures, default=0)

    @property
    def figure(self) -> float:
        """That of the last epoch, whose weights a training keeps; 0 before it."""
        return self.figures.get(self.epoch, 0.0)


class Study:
    """The trials of one search, in a file of records: the last record of a trial counts.

    TPE takes trials that were stopped early for worse than finished ones; failed ones tell it
    nothing. It draws from `seed` and the number of trials that are on record.
    """

    def __init__(self, file: Path, space: Space, seed: int) -> None:
        """Load what `file` holds, if it is there."""
        self._file = file
        self._space = space
        self._distributions = {key: _distribution(dim) for key, dim in space.items()}
        self.trials = {
            trial.number: trial for trial in read_records(file, Trial.model_validate_json)
        }
        self._interrupted = [trial for trial in self.trials.values() if trial.outcome is None]
        self._asked: dict[int, optuna.Trial] = {}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        state = int(digest_value([seed, len(self.trials)], length=8), 16)
        # The liar: trials that run at the same time are not put close to each other.
        sampler = optuna.samplers.TPESampler(seed=state, constant_liar=True)
        self._optuna = optuna.create_study(direction="maximize", sampler=sampler)
        self._optuna.add_trials([self._frozen(trial) for trial in self.ended])

    @property
    def ended(self) -> list[Trial]:
        """Those that are not tried again."""
        return [trial for trial in self.trials.values() if trial.outcome is not None]

    @property
    def best_first(self) -> list[Trial]:
        """Ended trials: those that ran to their end by their last figure, then the others."""
        return sorted(
            self.ended,
            key=lambda trial: (_PLACES[trial.outcome], -trial.figure, trial.number),
        )

    def next_trial(self) -> Trial:
        """Return a trial that a kill interrupted, as far as it came, else a new one."""
        if self._interrupted:
            trial = self._interrupted.pop(0)
            self._optuna.enqueue_trial(self._params(trial.values))
            self._asked[trial.number] = self._optuna.ask(self._distributions)
            return trial
        asked = self._optuna.ask(self._distributions)
        number = max(self.trials, default=0) + 1
        self._asked[number] = asked
        return self._keep(Trial(number=number, values=self._values(asked.params)))

    def add_figure(self, number: int, epoch: int, figure: float) -> None:
        """Keep the figure of one epoch more."""
        trial = self.trials[number]
        self._keep(trial.model_copy(update={"figures": {**trial.figures, epoch: figure}}))

    def end(self, number: int, outcome: Outcome, reason: str = "") -> Trial:
        """Keep how a trial ended, and learn from it."""
        trial = self.trials[number].model_copy(update={"outcome": outcome, "reason": reason})
        asked = self._asked.pop(number)
        for epoch, figure in trial.figures.items():
            asked.report(figure, epoch)
        value = trial.figure if outcome is Outcome.FINISHED else None
        self._optuna.tell(asked, value, _STATES[outcome])
        return self._keep(trial)

    def _keep(self, trial: Trial) -> Trial:
        append_record(self._file, trial.model_dump_json())
        self.trials[trial.number] = trial
        return trial

    def _frozen(self, trial: Trial) -> FrozenTrial:
        assert trial.outcome is not None
        return create_trial(
            state=_STATES[trial.outcome],
            value=trial.figure if trial.outcome is Outcome.FINISHED else None,
            params=self._params(trial.values),
            distributions=self._distributions,
            intermediate_values=trial.figures,
        )

    def _params(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return values as Optuna knows them: of choices, which may be of any kind, the place."""
        return {
            key: dim.choices.index(values[key]) if isinstance(dim, Choices) else values[key]
            for key, dim in self._space.items()
        }

    def _values(self, params: dict[str, Any]) -> dict[str, Any]:
        return {
            key: dim.choices[params[key]] if isinstance(dim, Choices) else params[key]
            for key, dim in self._space.items()
        }


_STATES = {
    Outcome.FINISHED: TrialState.COMPLETE,
    Outcome.STOPPED: TrialState.PRUNED,
    Outcome.FAILED: TrialState.FAIL,
}


def _distribution(dimension: Range | Choices) -> BaseDistribution:
    if isinstance(dimension, Choices):
        return CategoricalDistribution(range(len(dimension.choices)))
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
