"""The shape of a space file: how many trials to make, and of which parameters.

Read one with `stpa.stages.search_plan.read_plan`, which also tries its values on params.yaml.
"""

from typing import Annotated, Any

from pydantic import Discriminator, Field, StrictInt, Tag, field_validator

from stpa.config import Section
from stpa.config.base import Info, PositiveInt
from stpa.streams import STREAMS, Stream

Number = StrictInt | float


class Range(Section):
    """Numbers from `low` to `high`, both among them; whole numbers where both bounds are."""

    low: Number
    high: Number
    log: bool = False
    """Draw their logarithms evenly."""

    @field_validator("high")
    @classmethod
    def _is_not_empty(cls, high: Number, info: Info) -> Number:
        if high <= (low := info.data.get("low", -float("inf"))):
            raise ValueError(f"high {high} must be above low {low}")
        return high

    @field_validator("log")
    @classmethod
    def _has_logarithms(cls, log: bool, info: Info) -> bool:
        if log and (low := info.data.get("low", 1)) <= 0:
            raise ValueError(f"log needs a low above 0, not {low}")
        return log

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are drawn."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def probes(self) -> tuple[Number, ...]:
        """Values that are all sound if every value is, each field of params.yaml being a range."""
        return self.low, self.high


class Choices(Section):
    """One of some values, of whatever kind and in no order."""

    choices: Annotated[tuple[Any, ...], Field(min_length=2)]

    @property
    def probes(self) -> tuple[Any, ...]:
        """All values."""
        return self.choices


def _kind(dimension: object) -> str:
    if isinstance(dimension, Range | Choices):
        return "range" if isinstance(dimension, Range) else "choices"
    return "choices" if isinstance(dimension, dict) and "choices" in dimension else "range"


Dimension = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")], Discriminator(_kind)
]

Space = dict[str, Range | Choices]
"""What is drawn from, by the dotted path of a key in params.yaml."""


class EarlyStopping(Section):
    """ASHA (Li et al., MLSys 2020): trials that are behind others after as many epochs end."""

    grace_epochs: PositiveInt
    """No trial ends before."""
    reduction_factor: Annotated[float, Field(gt=1)]
    """Of the trials that have come to `grace_epochs`, and to each power of this times as many, the
    best share of 1 in so many goes on."""


class SearchPlan(Section):
    """All of a space file."""

    trials: PositiveInt
    folds: Annotated[int, Field(ge=2)]
    """One fold of the training recordings in this many validates; the others train."""
    max_concurrent: PositiveInt | None
    """Trials at once, if the cluster has room for more; null: as many as it has room for."""
    early_stopping: EarlyStopping | None
    """null: every trial runs to its end."""
    space: Annotated[dict[str, Dimension], Field(min_length=1)]

    def of_stream(self, stream: Stream) -> Space:
        """Return the part that one network's training depends on."""
        others = tuple(f"train.streams.{other}." for other in STREAMS.values() if other != stream)
        return {key: dim for key, dim in self.space.items() if not key.startswith(others)}
