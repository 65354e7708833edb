"""Which classes a network cannot tell apart, and what two streams know together.

For videos with one label each. Probabilities are compared, not answers: a stream that knows only
one half of a class, its motion say, spreads them over the classes that share this half, while its
answers seem to prefer one of these.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

from stpa.evaluation.metrics import correct
from stpa.evaluation.scores import Scores
from stpa.shapes import Bool, Float

Confusion = Float[np.ndarray, "classes classes"]
"""Row by row, the mean probabilities that the videos of a class are given for all classes."""

PAIRS = 5
"""How many confused pairs of classes a person is shown of a stream."""


class ConfusedPair(NamedTuple):
    """Two classes, and the mean probability that videos of one are given for the other."""

    first: str
    second: str
    probability: float


class Agreement(NamedTuple):
    """The videos that the streams alone get right or wrong in one of all possible ways."""

    right: tuple[bool, ...]
    """Whether each stream alone is right."""
    num_videos: int
    num_fused_right: int


@dataclass(frozen=True)
class StreamComparison:
    """What each stream and their fusion can tell apart on the same videos."""

    class_order: tuple[int, ...]
    """Class indices, in the order of `order_classes` for all three together."""
    confusions: dict[str, Confusion]
    """By stream."""
    pairs: dict[str, list[ConfusedPair]]
    """By stream, the pairs of classes that are confused most."""
    agreement: list[Agreement]


def compare_streams(
    streams: Sequence[Scores], fused: Scores, num_segments: int
) -> StreamComparison:
    """Compare the scores of all streams and of their fusion, where videos have one label each."""
    confusions = {
        scores.stream: mean_probabilities(
            scores.judging.probabilities(scores.at(num_segments)), scores.labels
        )
        for scores in (*streams, fused)
    }
    indices = fused.labels.argmax(axis=1)
    right = [correct(scores.at(num_segments), indices) for scores in streams]
    return StreamComparison(
        class_order=order_classes(list(confusions.values())),
        confusions=confusions,
        pairs={
            stream: confused_pairs(confusion, fused.class_names, PAIRS)
            for stream, confusion in confusions.items()
        },
        agreement=count_agreement(right, correct(fused.at(num_segments), indices)),
    )


def mean_probabilities(
    probabilities: Float[np.ndarray, "videos classes"], labels: Bool[np.ndarray, "videos classes"]
) -> Confusion:
    """Average the probabilities over the videos of each class; zero where a class has none."""
    num_videos = labels.sum(axis=0)
    return labels.T.astype(float) @ probabilities / np.maximum(num_videos, 1)[:, None]


def order_classes(confusions: Sequence[Confusion]) -> tuple[int, ...]:
    """Return class indices in an order in which classes that are confused are neighbours.

    Average-linkage clustering by the confusion of all networks together. The leaves are in the
    order of least distance between neighbours (Bar-Joseph et al., 2001).
    """
    from scipy.cluster.hierarchy import leaves_list, linkage  # slow to import
    from scipy.spatial.distance import squareform

    num_classes = len(confusions[0])
    if num_classes < 3:
        return tuple(range(num_classes))
    mutual = np.sum([_mutual(each) for each in confusions], axis=0)
    distance = squareform(mutual.max() - mutual, checks=False)  # the diagonal does not count
    return tuple(leaves_list(linkage(distance, "average", optimal_ordering=True)).tolist())


def confused_pairs(
    confusion: Confusion, class_names: Sequence[str], most: int
) -> list[ConfusedPair]:
    """Return the pairs of classes that are confused most, the worst first."""
    rows, columns = np.triu_indices(len(class_names), k=1)
    probabilities = _mutual(confusion)[rows, columns]
    worst = np.argsort(-probabilities, kind="stable")[:most].tolist()
    return [
        ConfusedPair(class_names[int(rows[at])], class_names[int(columns[at])], probability)
        for at, probability in zip(worst, probabilities[worst].tolist(), strict=True)
    ]


def count_agreement(
    streams_right: Sequence[Bool[np.ndarray, " videos"]], fused_right: Bool[np.ndarray, " videos"]
) -> list[Agreement]:
    """Count the videos that all streams alone, some of them or none gets right."""
    found = []
    for right in product((True, False), repeat=len(streams_right)):
        pairs = zip(streams_right, right, strict=True)
        videos = np.all([mine == wanted for mine, wanted in pairs], axis=0)
        found.append(Agreement(right, int(videos.sum()), int(fused_right[videos].sum())))
    return found


def _mutual(confusion: Confusion) -> Confusion:
    return (confusion + confusion.T) / 2
