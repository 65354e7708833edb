"""What a classifier answers for one video."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stpa.evaluation.explain import Explanation

SEPARATOR = "; "
"""Between several labels of one video, in a table."""


@dataclass(frozen=True)
class Result:
    """The classes of one video with their probabilities, or why there are none."""

    path: str
    """The path or address, as it was given."""
    labels: tuple[str, ...] = ()
    """The best class, or none if it is below the threshold; where videos have any number of labels
    and a threshold is given, all classes that reach it, the best one first."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """The probability of each class, the best one first; empty where there is an `error`."""
    seconds: float | None = None
    """How long the video is; None where its container does not say."""
    error: str | None = None
    """Why the video cannot be classified."""
    explanation: "Explanation | None" = field(default=None, repr=False, compare=False)
    """What decided, where a picture is to be drawn."""

    @property
    def label(self) -> str:
        """The labels as text; empty where there are none."""
        return SEPARATOR.join(self.labels)

    @property
    def probability(self) -> float | None:
        """The probability of the best class; None where there is an `error`."""
        return next(iter(self.scores.values()), None)


def choose_labels(
    scores: Mapping[str, float], *, multi_label: bool, threshold: float | None
) -> tuple[str, ...]:
    """Return `Result.labels` for probabilities by class, the best one first."""
    if threshold is None:
        return tuple(scores)[:1]
    reached = tuple(name for name, probability in scores.items() if probability >= threshold)
    return reached if multi_label else reached[:1]
