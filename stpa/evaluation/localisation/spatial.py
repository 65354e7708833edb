"""Does a map point at the box, in the frames of the action?

Each metric takes the maps and the boxes of these frames: boxes as x0, y0, x1, y1 in px of the
square crop of `side` px, NaN where the crop shows nothing of the box. Such frames are left out;
where none is left, a metric is NaN. A map of zeros counts as an even one.
"""

import cv2
import numpy as np

from stpa.evaluation.localisation.boxes import are_boxes
from stpa.evaluation.localisation.cells import covered_shares, upsample
from stpa.shapes import Bool, Float

TOLERANCE = 15 / 224
"""Of the side: by how much a box is widened for the pointing game."""
IOU_LEVEL = 200 / 255
"""Above it, a map between 0 and 1 belongs to the predicted box."""
_EQUAL = 1e-9
"""Values that are nearer to each other, as shares of the largest, are equal."""

Maps = Float[np.ndarray, "frames height width"]
Boxes = Float[np.ndarray, "frames 4"]


def pointing_game(maps: Maps, boxes: Boxes, side: int) -> float:
    """Return the share of frames in which the highest point of the map is in the box.

    The map is upsampled bilinearly, the box widened by `TOLERANCE`. Of several highest points, each
    counts for its share: an even map points everywhere.

    Zhang et al., Top-down Neural Attention by Excitation Backprop, ECCV 2016.
    """
    hits = []
    for cells, box in _with_a_box(maps, boxes):
        pixels = upsample(cells, side)
        highest = pixels >= pixels.max() * (1 - _EQUAL)
        hits.append(_pixels_in(box, side, TOLERANCE * side)[highest].mean())
    return float(np.mean(hits)) if hits else np.nan


def energy_in_box(maps: Maps, boxes: Boxes, side: int) -> float:
    """Return the share of all frames' weight that lies within their boxes.

    A cell's weight is spread evenly over the cell. An even map scores the mean share of the crop
    that the boxes cover.

    As in Wang et al., Score-CAM, CVPR Workshops 2020, but without upsampling.
    """
    framed = _with_a_box(maps, boxes)
    if not framed:
        return np.nan
    height, width = maps.shape[1:]
    weights = np.stack([cells for cells, _ in framed]).astype(np.float64)
    covered = np.stack([covered_shares(box, height, width, side) for _, box in framed])
    if not weights.any():
        return float(covered.mean())
    return float((weights * covered).sum() / weights.sum())


def box_ious(maps: Maps, boxes: Boxes, side: int) -> Float[np.ndarray, " boxed"]:
    """Return, for each frame with a box, its intersection over union with the box that a map draws.

    That is the one around the largest connected part of the pixels above `IOU_LEVEL`, where the
    upsampled map is between 0 and 1. An even map draws the whole crop.

    Meng et al., Interpretable Spatio-temporal Attention for Video Action Recognition, ICCV
    Workshops 2019.
    """
    found = [
        _iou(_drawn_box(upsample(cells, side)), box) for cells, box in _with_a_box(maps, boxes)
    ]
    return np.array(found, np.float64)


def share_from(ious: Float[np.ndarray, " boxed"], least: float) -> float:
    """Return the share of frames whose intersection over union is `least` or more."""
    return float((ious >= least).mean()) if len(ious) else np.nan


def _with_a_box(maps: Maps, boxes: Boxes) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(maps[frame], boxes[frame]) for frame in np.flatnonzero(are_boxes(boxes))]


def _pixels_in(
    box: Float[np.ndarray, "4"], side: int, margin: float
) -> Bool[np.ndarray, "{side} {side}"]:
    """Return which pixels have their centre within a box that is `margin` px wider each way."""
    centres = np.arange(side) + 0.5
    x0, y0, x1, y1 = box
    rows = (centres >= y0 - margin) & (centres <= y1 + margin)
    columns = (centres >= x0 - margin) & (centres <= x1 + margin)
    return rows[:, None] & columns


def _drawn_box(pixels: Float[np.ndarray, "side side"]) -> Float[np.ndarray, "4"]:
    low, high, side = pixels.min(), pixels.max(), len(pixels)
    if high - low <= _EQUAL * high:
        return np.array([0.0, 0.0, side, side])
    above = (pixels - low) / (high - low) > IOU_LEVEL
    _, _, parts, _ = cv2.connectedComponentsWithStats(above.astype(np.uint8))
    largest = parts[1 + parts[1:, cv2.CC_STAT_AREA].argmax()]  # part 0 is what is not above
    left, top, width, height = largest[: cv2.CC_STAT_AREA].tolist()
    return np.array([left, top, left + width, top + height], np.float64)


def _iou(first: Float[np.ndarray, "4"], second: Float[np.ndarray, "4"]) -> float:
    shared = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    intersection = shared.clip(0).prod()
    areas = (first[2:] - first[:2]).prod() + (second[2:] - second[:2]).prod()
    return float(intersection / (areas - intersection))
