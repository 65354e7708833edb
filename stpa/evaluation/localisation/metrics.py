"""All metrics of one map, by name."""

import numpy as np

from stpa.evaluation.localisation.spatial import (
    box_ious,
    energy_in_box,
    pointing_game,
    share_from,
)
from stpa.evaluation.localisation.temporal import (
    temporal_ap,
    temporal_auc,
    temporal_energy,
    temporal_iou,
    temporal_iou_above_even,
)
from stpa.shapes import Bool, Float

KINDS = {
    "space": {
        "pointing": "pointing",
        "energy_in_box": "energy in box",
        "box_iou_30": "box IoU >= 0.3",
        "box_iou_50": "box IoU >= 0.5",
    },
    "time": {
        "temporal_auc": "AUC",
        "temporal_ap": "AP",
        "temporal_energy": "energy",
        "temporal_iou": "IoU, top",
        "temporal_iou_above_even": "IoU, > 1/K",
    },
    "perturbation": {
        "deletion": "deletion (low)",
        "insertion": "insertion (high)",
    },
}
"""What a person reads for a metric's name, by what is measured. Each is in [0, 1]; more is better,
except for deletion."""


def measure_map(
    maps: Float[np.ndarray, "time height width"],
    in_action: Bool[np.ndarray, " time"],
    boxes: Float[np.ndarray, "time 4"] | None,
    side: int,
) -> dict[str, float]:
    """Return the metrics of time, and those of space where there are boxes; NaN if undefined.

    Boxes are in px of the crop of `side` px. Those outside of the action's frames do not count.
    """
    weights = maps.sum(axis=(1, 2), dtype=np.float64)
    found = {
        "temporal_auc": temporal_auc(weights, in_action),
        "temporal_ap": temporal_ap(weights, in_action),
        "temporal_energy": temporal_energy(weights, in_action),
        "temporal_iou": temporal_iou(weights, in_action),
        "temporal_iou_above_even": temporal_iou_above_even(weights, in_action),
    }
    if boxes is None:
        return found
    shown, framed = maps[in_action], boxes[in_action]
    ious = box_ious(shown, framed, side)
    return found | {
        "pointing": pointing_game(shown, framed, side),
        "energy_in_box": energy_in_box(shown, framed, side),
        "box_iou_30": share_from(ious, 0.3),
        "box_iou_50": share_from(ious, 0.5),
    }
