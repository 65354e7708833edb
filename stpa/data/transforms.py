"""Resize, crop and flip uint8 clips `time channels height width`, all frames alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from stpa.shapes import UInt8
from stpa.streams import Stream

Clip = UInt8[np.ndarray, "time channels rows columns"]


@dataclass(frozen=True)
class Box:
    """A rectangle within a frame, px."""

    top: int
    left: int
    height: int
    width: int


def resize(
    clip: Clip, height: int, width: int
) -> UInt8[np.ndarray, "time channels {height} {width}"]:
    """Resize every plane; flow keeps its values, which stay displacements in stored pixels."""
    if clip.shape[2:] == (height, width):
        return clip
    shrinks = height * width < clip.shape[2] * clip.shape[3]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    planes = clip.reshape(-1, *clip.shape[2:])
    resized = np.stack(
        [cv2.resize(plane, (width, height), interpolation=method) for plane in planes]
    )
    return resized.reshape(*clip.shape[:2], height, width)


def resize_short_side(
    clip: Clip, short_side: int
) -> UInt8[np.ndarray, "time channels height width"]:
    """Resize so that the shorter side has `short_side` px, keeping the proportions."""
    height, width = clip.shape[2:]
    scale = short_side / min(height, width)
    return resize(clip, round(height * scale), round(width * scale))


def crop(clip: Clip, box: Box) -> UInt8[np.ndarray, "time channels {box.height} {box.width}"]:
    """Cut `box` out of every frame."""
    rows = slice(box.top, box.top + box.height)
    columns = slice(box.left, box.left + box.width)
    return clip[:, :, rows, columns]


def centre_crop(clip: Clip, size: int) -> UInt8[np.ndarray, "time channels {size} {size}"]:
    """Cut out the middle square of `size` px."""
    height, width = clip.shape[2:]
    return crop(clip, Box((height - size) // 2, (width - size) // 2, size, size))


def test_crops(
    clip: Clip, size: int, num_crops: int, stream: Stream
) -> UInt8[np.ndarray, "{num_crops} time channels {size} {size}"]:
    """Cut out the squares of `size` px that a test averages over, as TSN does.

    1: the centre; 5: then the corners, too; 10: then all five mirrored.
    """
    height, width = clip.shape[2:]
    bottom, right = height - size, width - size
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right)][: num_crops - 1]
    boxes = [Box(top, left, size, size) for top, left in corners]
    crops = [centre_crop(clip, size), *(crop(clip, box) for box in boxes)]
    if num_crops == 2 * len(crops):
        crops += [flip(each, stream) for each in crops]
    return np.stack(crops)


def draw_box(height: int, width: int, scales: Sequence[float], rng: np.random.Generator) -> Box:
    """Draw a crop as TSN does, from few places so that corners are seen as often as the middle.

    Sides are `scales` of the shorter side, neighbours in that list at most, so that a square
    made of the crop is little distorted.
    """
    index = int(rng.integers(len(scales)))
    neighbour = int(rng.integers(max(index - 1, 0), min(index + 2, len(scales))))
    crop_height, crop_width = (int(min(height, width) * scales[i]) for i in (index, neighbour))
    row, column = _PLACES[rng.integers(len(_PLACES))]
    top, left = (height - crop_height) * row // 4, (width - crop_width) * column // 4
    return Box(top, left, crop_height, crop_width)


def flip(clip: Clip, stream: Stream) -> Clip:
    """Mirror left and right; channels that count motion to the right change their sign too."""
    mirrored = np.ascontiguousarray(clip[..., ::-1])
    if channels := list(stream.rightward_channels):
        mirrored[:, channels] = 255 - mirrored[:, channels]
    return mirrored


_PLACES = [(row, column) for row in range(5) for column in range(5) if row % 2 == column % 2]
"""Quarters of the free height and width: corners, edges' middles, centre, and the four between."""
