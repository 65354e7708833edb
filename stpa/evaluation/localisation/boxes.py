"""Where a box in a video's frames is in the crop that a network saw."""

import numpy as np

from stpa.shapes import Bool, Float


def boxes_in_crop(
    boxes: Float[np.ndarray, "frames 4"],
    frame_size: tuple[int, int],
    resized_size: tuple[int, int],
    side: int,
) -> Float[np.ndarray, "frames 4"]:
    """Map boxes from px of a video's frames to px of the network's centre crop, and clip them.

    A box is x0, y0, x1, y1 from the left and upper edge. `frame_size` is the height and width of
    the video's frames, `resized_size` that of what the crop was cut from
    (`stpa.data.transforms.centre_crop`). Each axis has a scale of its own: stored optical flow has
    other proportions than the video. Boxes with no part in the crop become NaN, as NaN does.
    """
    height, width = resized_size
    scales = np.array([width / frame_size[1], height / frame_size[0]])
    # In whole px, as the crop is cut.
    corner = np.array([(width - side) // 2, (height - side) // 2])
    corners = boxes.reshape(-1, 2, 2) * scales - corner
    clipped = np.clip(corners, 0, side).reshape(boxes.shape)
    return np.where(are_boxes(clipped)[:, None], clipped, np.nan)


def are_boxes(boxes: Float[np.ndarray, "frames 4"]) -> Bool[np.ndarray, " frames"]:
    """Return which boxes have an area; NaN has none."""
    return np.all(boxes[:, 2:] > boxes[:, :2], axis=1)


def box_shares(boxes: Float[np.ndarray, "frames 4"], side: int) -> Float[np.ndarray, " frames"]:
    """Return the share of the crop that each box covers; NaN of NaN."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) / side**2
