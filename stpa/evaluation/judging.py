"""What stands for how good a classifier is: one answer a video, or any number of labels.

Which of the two holds follows from the data (`Manifest.multi_label`). All that differs between
them in reports, tracking and promotion is behind `Judging`, chosen by `judging_of`. A new metric is
a function and an entry in `ACCURACIES` or, of any number of labels, in `PRECISIONS`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from stpa.average_precision import mean_average_precision, weighted_average_precision
from stpa.evaluation.metrics import correct, mean_class_accuracy, top1, top5
from stpa.evaluation.significance import (
    Gain,
    Interval,
    compare_map,
    compare_paired,
    map_interval,
    wilson_interval,
)
from stpa.shapes import Bool, Float

Logits = Float[np.ndarray, "videos classes"]
Labels = Bool[np.ndarray, "videos classes"]
"""Whether a video shows a class."""
_OfAny = Float[np.ndarray, "*videos classes"]


class Metric(NamedTuple):
    """A figure in [0, 1], of which more is better."""

    title: str
    """What a person reads; files and MLflow have its name in the registry."""
    of: Callable[[Logits, Any], float]
    """Of logits and each video's class index or, where it has any number of labels, `Labels`."""
    fewest_classes: int = 1
    """With fewer of them it says nothing."""


ACCURACIES = {
    "top1": Metric("top-1", top1),
    "mean_class_accuracy": Metric("mean over classes", mean_class_accuracy),
    "top5": Metric("top-5", top5, fewest_classes=6),
}
PRECISIONS = {
    "map": Metric("mAP", mean_average_precision),
    "wap": Metric("wAP", weighted_average_precision),
}
TITLES = {name: metric.title for name, metric in (ACCURACIES | PRECISIONS).items()}
"""What a person reads for a figure's name in files and in MLflow."""


class Judging(ABC):
    """How logits are judged by the labels: a row a video, a column a class."""

    kind: str
    """Of all the figures."""
    headline: str
    """The figure that decides, a name in `TITLES`."""
    interval_method: str
    gain_test: str | None
    """What the p-value of `compare` is of, if it has one."""

    @abstractmethod
    def figures(self, logits: Logits, labels: Labels) -> dict[str, float]:
        """Return the figures by name, the headline first; each in [0, 1], more is better."""

    @abstractmethod
    def interval(self, logits: Logits, labels: Labels, seed: int) -> Interval:
        """Return an interval of the headline."""

    @abstractmethod
    def compare(self, first: Logits, second: Logits, labels: Labels, seed: int) -> Gain:
        """Compare two classifiers by the headline, on the same videos."""

    @abstractmethod
    def probabilities(self, logits: _OfAny) -> _OfAny:
        """Return the probability that a network gives each class."""


class SingleLabel(Judging):
    """Each video shows exactly one class: accuracies."""

    kind = "Accuracy"
    headline = "top1"
    interval_method = "Wilson"
    gain_test = "McNemar's exact test"

    def figures(self, logits: Logits, labels: Labels) -> dict[str, float]:
        return _measure(ACCURACIES, logits, labels.argmax(axis=1))

    def interval(self, logits: Logits, labels: Labels, seed: int) -> Interval:
        return wilson_interval(correct(logits, labels.argmax(axis=1)))

    def compare(self, first: Logits, second: Logits, labels: Labels, seed: int) -> Gain:
        indices = labels.argmax(axis=1)
        return compare_paired(correct(first, indices), correct(second, indices), seed)

    def probabilities(self, logits: _OfAny) -> _OfAny:
        from scipy.special import softmax  # slow to import

        return softmax(logits, axis=-1)


class MultiLabel(Judging):
    """A video shows any number of classes: average precisions, as Charades is judged by."""

    kind = "Average precision"
    headline = "map"
    interval_method = "bootstrap over videos"
    gain_test = None

    def figures(self, logits: Logits, labels: Labels) -> dict[str, float]:
        return _measure(PRECISIONS, logits, labels)

    def interval(self, logits: Logits, labels: Labels, seed: int) -> Interval:
        return map_interval(logits, labels, seed)

    def compare(self, first: Logits, second: Logits, labels: Labels, seed: int) -> Gain:
        return compare_map(first, second, labels, seed)

    def probabilities(self, logits: _OfAny) -> _OfAny:
        from scipy.special import expit  # slow to import

        return expit(logits)


def _measure(metrics: Mapping[str, Metric], logits: Logits, shown: Any) -> dict[str, float]:
    num_classes = logits.shape[1]
    return {
        name: metric.of(logits, shown)
        for name, metric in metrics.items()
        if num_classes >= metric.fewest_classes
    }


SINGLE_LABEL, MULTI_LABEL = SingleLabel(), MultiLabel()


def judging_of(multi_label: bool) -> Judging:
    """Return how classifiers are judged where a video has any number of labels, or just one."""
    return MULTI_LABEL if multi_label else SINGLE_LABEL
