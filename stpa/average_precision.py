"""Average precision of multi-label scores, as Charades' own evaluation takes it.

As Charades_v1_classify.m and map.py of its authors' charades-algorithms: not interpolated, and
videos without any label put last, so that they do not count. There, equal scores rank as the sort
leaves them. Here they share the precision behind the last of them, as in scikit-learn, so that
the order of the videos does not matter.
"""

from dataclasses import dataclass

import numpy as np

from stpa.shapes import Bool, Float, Int


@dataclass(frozen=True)
class Ranking:
    """Each class's videos by falling score, sorted once for any number of weightings of them."""

    order: Int[np.ndarray, "classes videos"]
    positive: Bool[np.ndarray, "classes videos"]
    """Whether the video at a rank shows the class."""
    last_equal: Int[np.ndarray, "classes videos"]
    """The last rank of equal score."""

    def average_precisions(
        self, weights: Float[np.ndarray, " videos"]
    ) -> Float[np.ndarray, " classes"]:
        """Return each class's mean, over the videos that show it, of the precision at their rank.

        A video counts as often as its weight says. NaN for a class that no video shows.
        """
        ranked = weights[self.order]
        hits = ranked * self.positive
        precision = _share(hits.cumsum(axis=1), ranked.cumsum(axis=1))
        at_last = np.take_along_axis(precision, self.last_equal, axis=1)
        num_positive = hits.sum(axis=1)
        sums = (hits * at_last).sum(axis=1)
        return np.where(num_positive > 0, _share(sums, num_positive), np.nan)


def rank(
    scores: Float[np.ndarray, "videos classes"], labels: Bool[np.ndarray, "videos classes"]
) -> Ranking:
    """Sort each class's videos by score."""
    order = np.argsort(-scores.T, axis=1, kind="stable")
    ranked = np.take_along_axis(scores.T, order, axis=1)
    num_videos = len(scores)
    ends = np.ones(ranked.shape, bool)
    ends[:, :-1] = ranked[:, 1:] != ranked[:, :-1]
    places = np.where(ends, np.arange(num_videos), num_videos)
    last_equal = np.minimum.accumulate(places[:, ::-1], axis=1)[:, ::-1]
    return Ranking(order, np.take_along_axis(labels.T, order, axis=1), last_equal)


def average_precisions(
    scores: Float[np.ndarray, "videos classes"], labels: Bool[np.ndarray, "videos classes"]
) -> Float[np.ndarray, " classes"]:
    """Return each class's average precision, in [0, 1]; NaN for one that no video shows."""
    scores, labels = drop_unlabelled(scores, labels)
    return rank(scores, labels).average_precisions(np.ones(len(scores)))


def mean_average_precision(
    scores: Float[np.ndarray, "videos classes"], labels: Bool[np.ndarray, "videos classes"]
) -> float:
    """Return the mean over the classes that some video shows; there must be one."""
    return float(np.nanmean(average_precisions(scores, labels)))


def weighted_average_precision(
    scores: Float[np.ndarray, "videos classes"], labels: Bool[np.ndarray, "videos classes"]
) -> float:
    """Return the mean over classes, each weighing as many as videos show it."""
    by_class, shown = average_precisions(scores, labels), labels.any(axis=0)
    return float(np.average(by_class[shown], weights=labels.sum(axis=0)[shown]))


def drop_unlabelled(
    scores: Float[np.ndarray, "videos classes"], labels: Bool[np.ndarray, "videos classes"]
) -> tuple[Float[np.ndarray, "labelled classes"], Bool[np.ndarray, "labelled classes"]]:
    """Leave out the videos that show no class."""
    labelled = labels.any(axis=1)
    return scores[labelled], labels[labelled]


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide, where there is something to divide by; 0 elsewhere."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
