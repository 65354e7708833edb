"""Boxes in the crop, against boxes that are drawn on frames and go through the real transforms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stpa.data.transforms import centre_crop, resize, resize_short_side
from stpa.evaluation.localisation.boxes import box_shares, boxes_in_crop


def drawn_box(picture: np.ndarray) -> np.ndarray:
    """Return the box around what is more than half white."""
    rows, columns = np.nonzero(picture > 127)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


@pytest.mark.parametrize("stored", [None, (256, 340), (96, 96)])
@pytest.mark.parametrize("frame_size", [(240, 320), (320, 180), (101, 333)])
@pytest.mark.parametrize("box", [(20, 30, 90, 75), (120, 60, 150, 95), (0, 0, 333, 333)])
def test_a_box_is_where_the_transforms_put_what_is_drawn_in_it(
    stored: tuple[int, int] | None, frame_size: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    height, width = frame_size
    x0, y0, x1, y1 = np.minimum(box, (width, height) * 2).tolist()
    frame = np.zeros((1, 1, height, width), np.uint8)
    frame[:, :, y0:y1, x0:x1] = 255
    if stored is not None:  # as optical flow is
        frame = resize(frame, *stored)
    resized = resize_short_side(frame, 128)
    crop = centre_crop(resized, 112)[0, 0]
    [found] = boxes_in_crop(np.array([[x0, y0, x1, y1]], float), frame_size, resized.shape[2:], 112)
    if crop.max() <= 127:
        assert np.isnan(found).all() or box_shares(found[None], 112) < 0.01
    else:
        # Two resizings, each of which rounds a border to a pixel.
        np.testing.assert_allclose(found, drawn_box(crop), atol=1.6)


def test_a_box_outside_of_the_crop_is_none_and_one_across_its_border_is_cut() -> None:
    boxes = np.array([[0.0, 0, 20, 20], [0, 0, 60, 50], [np.nan] * 4, [170, 80, 200, 100]])
    found = boxes_in_crop(boxes, frame_size=(100, 200), resized_size=(100, 200), side=100)
    assert np.isnan(found[[0, 2, 3]]).all()
    assert found[1].tolist() == [0, 0, 10, 50]


@given(st.integers(64, 200), st.integers(64, 200))
def test_the_whole_frame_covers_the_whole_crop(height: int, width: int) -> None:
    whole = np.array([[0.0, 0, width, height]])
    resized = resize_short_side(np.zeros((1, 1, height, width), np.uint8), 64).shape[2:]
    found = boxes_in_crop(whole, (height, width), resized, 64)
    assert box_shares(found, 64) == pytest.approx(1)
