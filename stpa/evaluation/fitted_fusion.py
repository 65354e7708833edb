"""How much each stream's logits count, fitted on videos that their networks have not learnt from.

A network that only guesses is as confident on new videos as one that knows: trained to the end, it
is certain of each of its training videos. No fixed rule can tell the two apart, held-out videos
do. The fit is a logistic regression with one coefficient per stream, of which none is negative:
log p = log softmax(a r + b f [+ ...]), by maximum likelihood, so that probabilities are calibrated
as well.
"""

from collections.abc import Sequence

import numpy as np

from stpa.errors import DataError
from stpa.evaluation.fusion import FITTED, Fusion
from stpa.evaluation.scores import Scores
from stpa.shapes import Float

PRIOR_RECORDINGS = 1.0
"""Few recordings tell little. The weights' squared distance from even ones counts as much as the
mean surprise, in nats, of so many recordings."""

_LEAST_WEIGHT = 0.01


def even_fusion(streams: Sequence[str]) -> Fusion:
    """Weigh all streams alike: where nothing can be fitted, and where the fit starts."""
    return Fusion(FITTED, dict.fromkeys(streams, 1 / len(streams)))


def fit_fusion(streams: Sequence[Scores], num_recordings: int) -> Fusion:
    """Return the weights that make the held-out videos' labels the likeliest.

    All scores are of the same videos, which none of the networks has learnt from, and of one K.
    Raises DataError where they are of different videos.
    """
    first = streams[0]
    if any(each.video_ids != first.video_ids for each in streams):
        raise DataError("the streams' held-out scores are of different videos: train again")
    from scipy.optimize import minimize  # slow to import

    stacked = np.stack([next(iter(each.logits.values())) for each in streams]).astype(np.float64)
    even = np.full(len(streams), 1 / len(streams))
    fitted = minimize(
        _cost,
        even,
        args=(stacked, first, PRIOR_RECORDINGS / num_recordings),
        jac=True,
        bounds=[(0.0, None)] * len(streams),
        method="L-BFGS-B",
    )
    weights = fitted.x
    if weights.sum() < _LEAST_WEIGHT:  # all only guess: their order stays, with no confidence
        weights = _LEAST_WEIGHT * even
    names = [each.stream for each in streams]
    return Fusion(FITTED, dict(zip(names, weights.tolist(), strict=True)))


def surprise(
    logits: Float[np.ndarray, "videos classes"], scores: Scores
) -> Float[np.ndarray, " videos"]:
    """Return how unlikely logits make the labels of each video of `scores`, in nats.

    Where labels do not exclude each other, this is the sum over all classes.
    """
    labels = scores.labels
    if scores.multi_label:
        return np.logaddexp(0, np.where(labels, -logits, logits)).sum(axis=1)
    return np.logaddexp.reduce(logits, axis=1) - (logits * labels).sum(axis=1)


def _cost(
    weights: Float[np.ndarray, " streams"],
    logits: Float[np.ndarray, "streams videos classes"],
    scores: Scores,
    prior: float,
) -> tuple[float, Float[np.ndarray, " streams"]]:
    """Return what the fit makes small, and its gradient."""
    fused = np.tensordot(weights, logits, axes=1)
    distances = weights - 1 / len(weights)
    cost = surprise(fused, scores).mean() + prior * np.square(distances).sum()
    errors = scores.judging.probabilities(fused) - scores.labels
    slopes = (logits * errors).sum(axis=(1, 2)) / len(errors)
    return float(cost), slopes + 2 * prior * distances
