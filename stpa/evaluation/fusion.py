"""Late fusion: one set of scores from those of several streams.

A rule takes the logits of each stream and returns logits again, so that their softmax (their
sigmoids, where a video has any number of labels) is the fused probability. A new fixed rule is a
function here and an entry in `FUSION_RULES`; where labels do not exclude each other, one that
speaks of probabilities needs an entry in `MULTI_LABEL_RULES` too. `FITTED` weighs the streams by
what they know of training recordings that they have not seen (`stpa.evaluation.fitted_fusion`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from stpa.errors import DataError
from stpa.evaluation.scores import Scores
from stpa.shapes import Float
from stpa.streams import FLOW, STREAMS

StreamLogits = Mapping[str, np.ndarray]
"""By stream, the logits of many videos or of one, all of one shape."""

FusionRule = Callable[[StreamLogits], np.ndarray]
"""From the streams' logits to fused ones of the same shape."""

FUSED = "fused"
"""The stream of scores that `fuse` made."""

STREAM_TITLES = {stream.name: stream.title for stream in STREAMS.values()} | {FUSED: "fused"}
"""What a person reads for a stream's name in pictures and in the report."""


def average_logits(logits: StreamLogits) -> Float[np.ndarray, "*videos classes"]:
    """Weigh all streams alike, before the softmax (the STPA paper)."""
    return np.mean(_stacked(logits), axis=0)


def average_probabilities(logits: StreamLogits) -> Float[np.ndarray, "*videos classes"]:
    """Weigh all streams alike, after the softmax: no stream's scale counts."""
    stacked = _stacked(logits)
    return np.logaddexp.reduce(_log_softmax(stacked), axis=0) - math.log(len(stacked))


def average_sigmoids(logits: StreamLogits) -> Float[np.ndarray, "*videos classes"]:
    """Do as `average_probabilities` where each class has a probability of its own."""
    stacked = _stacked(logits)
    shown = np.logaddexp.reduce(_log_sigmoid(stacked), axis=0)
    return shown - np.logaddexp.reduce(_log_sigmoid(-stacked), axis=0)


def tsn_weighted(logits: StreamLogits) -> Float[np.ndarray, "*videos classes"]:
    """Weigh optical flow 1.5 times as much as any other stream, before the softmax (TSN)."""
    weights = {stream: 1.5 if stream == FLOW.name else 1.0 for stream in logits}
    return _weighted(weights, logits) / sum(weights.values())


FUSION_RULES: dict[str, FusionRule] = {
    "average_logits": average_logits,
    "average_probabilities": average_probabilities,
    "tsn_weighted": tsn_weighted,
}
MULTI_LABEL_RULES: dict[str, FusionRule] = FUSION_RULES | {
    "average_probabilities": average_sigmoids,
}


FITTED = "fitted"
"""The rule that has weights of its own for each model."""


@dataclass(frozen=True)
class Fusion:
    """A rule as it is served: a name in `FUSION_RULES`, or `FITTED` and its weights."""

    name: str
    weights: Mapping[str, float] | None = None
    """Of each stream's logits."""

    def rule(self, multi_label: bool) -> FusionRule:
        """Return the rule for videos of one label each, or of any number."""
        weights = self.weights
        if weights is None:
            return (MULTI_LABEL_RULES if multi_label else FUSION_RULES)[self.name]
        return partial(_weighted, weights)

    def __str__(self) -> str:
        """Return what a person reads."""
        if self.weights is None:
            return self.name
        terms = [f"{weight:.2f} {STREAM_TITLES[stream]}" for stream, weight in self.weights.items()]
        return f"{self.name} ({' + '.join(terms)})"


def fuse(streams: Sequence[Scores], fusion: Fusion) -> Scores:
    """Fuse scores of the same videos, at every K that all streams have.

    Raises DataError where they are of different videos, or share no K.
    """
    first, *others = streams
    for other in others:
        _check_alike(first, other)
    shared = [k for k in first.logits if all(k in other.logits for other in others)]
    if not shared:
        found = ", ".join(f"{each.stream} has {sorted(each.logits)}" for each in streams)
        raise DataError(f"no K is in the scores of all streams ({found}): evaluate them at one K")
    rule = fusion.rule(first.multi_label)
    return Scores(
        stream=FUSED,
        head=first.head,
        model_key="+".join(each.model_key for each in streams),
        data_version=first.data_version,
        class_names=first.class_names,
        multi_label=first.multi_label,
        video_ids=first.video_ids,
        labels=first.labels,
        logits={k: rule({each.stream: each.logits[k] for each in streams}) for k in shared},
    )


def _check_alike(first: Scores, other: Scores) -> None:
    for what in ("head", "data_version", "class_names", "multi_label", "video_ids"):
        if getattr(first, what) != getattr(other, what):
            raise DataError(
                f"the {first.stream} and {other.stream} scores differ in their {what}: "
                "evaluate all streams on the same data and fuse again"
            )


def _weighted(
    weights: Mapping[str, float], logits: StreamLogits
) -> Float[np.ndarray, "*videos classes"]:
    return np.sum([weights[stream] * each for stream, each in logits.items()], axis=0)


def _stacked(logits: StreamLogits) -> Float[np.ndarray, "streams *videos classes"]:
    return np.stack(list(logits.values()))


def _log_sigmoid(
    logits: Float[np.ndarray, "*videos classes"],
) -> Float[np.ndarray, "*videos classes"]:
    return -np.logaddexp(0, -logits)


def _log_softmax(
    logits: Float[np.ndarray, "*videos classes"],
) -> Float[np.ndarray, "*videos classes"]:
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
