"""Late fusion: one set of scores from the two streams'.

A rule takes the RGB and the flow logits and returns logits again, so that their softmax (their
sigmoids, where a video has any number of labels) is the fused probability. A new fixed rule is a
function here and an entry in `FUSION_RULES`; where labels do not exclude each other, one that
speaks of probabilities needs an entry in `MULTI_LABEL_RULES` too. `FITTED` weighs the streams by
what they know of training recordings that they have not seen (`stpa.evaluation.fitted_fusion`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stpa.errors import DataError
from stpa.evaluation.scores import Scores
from stpa.shapes import Float

FusionRule = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From RGB and flow logits, of many videos or of one, to fused ones of the same shape."""

FUSED = "fused"
"""The stream of scores that `fuse` made."""

STREAM_TITLES = {"rgb": "RGB", "flow": "optical flow", FUSED: "fused"}
"""What a person reads for a stream's name in pictures and in the report."""


def average_logits(
    rgb: Float[np.ndarray, "*videos classes"], flow: Float[np.ndarray, "*videos classes"]
) -> Float[np.ndarray, "*videos classes"]:
    """Weigh both streams alike, before the softmax (the STPA paper)."""
    return (rgb + flow) / 2


def average_probabilities(
    rgb: Float[np.ndarray, "*videos classes"], flow: Float[np.ndarray, "*videos classes"]
) -> Float[np.ndarray, "*videos classes"]:
    """Weigh both streams alike, after the softmax: neither one's scale counts."""
    return np.logaddexp(_log_softmax(rgb), _log_softmax(flow)) - math.log(2)


def average_sigmoids(
    rgb: Float[np.ndarray, "*videos classes"], flow: Float[np.ndarray, "*videos classes"]
) -> Float[np.ndarray, "*videos classes"]:
    """Do as `average_probabilities` where each class has a probability of its own."""
    shown = np.logaddexp(_log_sigmoid(rgb), _log_sigmoid(flow))
    return shown - np.logaddexp(_log_sigmoid(-rgb), _log_sigmoid(-flow))


def tsn_weighted(
    rgb: Float[np.ndarray, "*videos classes"], flow: Float[np.ndarray, "*videos classes"]
) -> Float[np.ndarray, "*videos classes"]:
    """Weigh RGB to flow as 1 to 1.5, before the softmax (TSN)."""
    return (rgb + 1.5 * flow) / 2.5


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
    weights: tuple[float, float] | None = None
    """Of the RGB and the flow logits."""

    def rule(self, multi_label: bool) -> FusionRule:
        """Return the rule for videos of one label each, or of any number."""
        if self.weights is None:
            return (MULTI_LABEL_RULES if multi_label else FUSION_RULES)[self.name]
        of_rgb, of_flow = self.weights
        return lambda rgb, flow: of_rgb * rgb + of_flow * flow

    def __str__(self) -> str:
        """Return what a person reads."""
        if self.weights is None:
            return self.name
        of_rgb, of_flow = self.weights
        return f"{self.name} ({of_rgb:.2f} RGB + {of_flow:.2f} flow)"


def fuse(rgb: Scores, flow: Scores, fusion: Fusion) -> Scores:
    """Fuse scores of the same videos, at every K that both have."""
    for what in ("head", "data_version", "class_names", "multi_label", "video_ids"):
        if getattr(rgb, what) != getattr(flow, what):
            raise DataError(
                f"the {rgb.stream} and {flow.stream} scores differ in their {what}: "
                "evaluate both streams on the same data and fuse again"
            )
    shared = [num_segments for num_segments in rgb.logits if num_segments in flow.logits]
    if not shared:
        raise DataError(
            f"the {rgb.stream} scores have K of {sorted(rgb.logits)}, the {flow.stream} scores "
            f"of {sorted(flow.logits)}, and none is in both: evaluate both at the same K"
        )
    rule = fusion.rule(rgb.multi_label)
    return Scores(
        stream=FUSED,
        head=rgb.head,
        model_key=f"{rgb.model_key}+{flow.model_key}",
        data_version=rgb.data_version,
        class_names=rgb.class_names,
        multi_label=rgb.multi_label,
        video_ids=rgb.video_ids,
        labels=rgb.labels,
        logits={key: rule(rgb.logits[key], flow.logits[key]) for key in shared},
    )


def _log_sigmoid(
    logits: Float[np.ndarray, "*videos classes"],
) -> Float[np.ndarray, "*videos classes"]:
    return -np.logaddexp(0, -logits)


def _log_softmax(
    logits: Float[np.ndarray, "*videos classes"],
) -> Float[np.ndarray, "*videos classes"]:
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
