"""Test videos that show what a classifier does: what fusion adds, a right and a wrong answer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stpa.evaluation.explain import Explanation
from stpa.evaluation.scores import Scores
from stpa.shapes import Bool


@dataclass(frozen=True)
class Example:
    """One test video with its labels, and why it got its answer."""

    path: str
    """Below the folder of the videos."""
    labels: tuple[str, ...]
    explanation: Explanation


def choose_examples(streams: Sequence[Scores], fused: Scores, num_segments: int) -> list[int]:
    """Return the indices of up to three videos, each the surest one of its kind.

    The kinds, in order: fused right where all streams alone are wrong, or else where one is; fused
    right; fused wrong. Where a kind has no other video, it is left out, and so are videos without
    a label.
    """
    right = np.stack([_is_right(scores, num_segments) for scores in streams])
    fused_right = _is_right(fused, num_segments)
    kinds = [
        [fused_right & ~right.any(axis=0), fused_right & ~right.all(axis=0)],
        [fused_right],
        [~fused_right],
    ]
    sureness = fused.judging.probabilities(fused.at(num_segments)).max(axis=1)
    sureness[~fused.labels.any(axis=1)] = -1
    chosen: list[int] = []
    for alternatives in kinds:
        for videos in alternatives:
            left = np.where(videos, sureness, -1)
            left[chosen] = -1
            if left.max() >= 0:
                chosen.append(int(left.argmax()))
                break
    return chosen


def _is_right(scores: Scores, num_segments: int) -> Bool[np.ndarray, " videos"]:
    best = scores.at(num_segments).argmax(axis=1)
    return scores.labels[np.arange(len(best)), best]
