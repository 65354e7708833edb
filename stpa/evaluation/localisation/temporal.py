"""Does a map prefer the frames of the action?

Each metric takes the weight >= 0 of each frame that a network looked at, the sum of its map, and
whether the frame is in the action. Where all frames are, or none is, there is nothing to tell
apart, and a metric is NaN. Weights that are all zero count as even ones.
"""

import numpy as np

from stpa.average_precision import average_precisions
from stpa.shapes import Bool, Float

_EQUAL = 1e-9

Weights = Float[np.ndarray, " frames"]
InAction = Bool[np.ndarray, " frames"]


def temporal_auc(weights: Weights, in_action: InAction) -> float:
    """Return how often a frame of the action weighs more than another one; equal ones count half.

    The area under the ROC curve; 0.5 is chance.
    """
    if _is_undefined(in_action):
        return np.nan
    inside, outside = weights[in_action][:, None], weights[~in_action]
    return float(((inside > outside) + 0.5 * (inside == outside)).mean())


def temporal_ap(weights: Weights, in_action: InAction) -> float:
    """Return the average precision of the frames by falling weight (`stpa.average_precision`).

    Even weights score the share of the frames that are in the action.
    """
    if _is_undefined(in_action):
        return np.nan
    # Two classes, as frames without a class would not count: in the action, and not.
    labels = np.stack([in_action, ~in_action], axis=1)
    return float(average_precisions(np.stack([weights, -weights], axis=1), labels)[0])


def temporal_energy(weights: Weights, in_action: InAction) -> float:
    """Return the share of the weight that lies on the frames of the action."""
    if _is_undefined(in_action):
        return np.nan
    return float(_shares(weights)[in_action].sum())


def temporal_iou(weights: Weights, in_action: InAction) -> float:
    """Return the intersection over union of the action and as many frames, the heaviest ones.

    Where frames of equal weight compete for the last of these, each is taken for an equal share.
    """
    if _is_undefined(in_action):
        return np.nan
    num_action = int(in_action.sum())
    last = np.sort(weights)[-num_action]
    heavier, equal = weights > last, weights == last
    share = (num_action - heavier.sum()) / equal.sum()
    shared = (in_action & heavier).sum() + share * (in_action & equal).sum()
    return float(shared / (2 * num_action - shared))


def temporal_iou_above_even(weights: Weights, in_action: InAction) -> float:
    """Return the intersection over union of the action and the frames above an even share, 1 / K.

    Frames that have just this share count as above it: even weights take all frames.
    """
    if _is_undefined(in_action):
        return np.nan
    taken = _shares(weights) >= (1 - _EQUAL) / len(weights)
    return float((taken & in_action).sum() / (taken | in_action).sum())


def _is_undefined(in_action: InAction) -> bool:
    return bool(in_action.all() or not in_action.any())


def _shares(weights: Weights) -> Weights:
    total = weights.sum()
    return weights / total if total > 0 else np.full(len(weights), 1 / len(weights))
