"""Cells of a map against the pixels below them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from stpa.evaluation.localisation.cells import cell_means, covered_shares, upsample

SIDE = 24


@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 99))
def test_upsampling_is_pytorch_s(height: int, width: int, seed: int) -> None:
    cells = np.random.default_rng(seed).random((height, width))
    expected = F.interpolate(
        torch.from_numpy(cells)[None, None], (SIDE, SIDE), mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(upsample(cells, SIDE), expected[0, 0].numpy(), atol=1e-12)


def test_a_map_of_one_cell_per_pixel_stays_as_it_is() -> None:
    cells = np.random.default_rng(0).random((SIDE, SIDE))
    np.testing.assert_array_equal(upsample(cells, SIDE), cells)
    np.testing.assert_allclose(cell_means(cells, SIDE, SIDE), cells)


def test_a_cell_has_the_mean_of_its_pixels_and_parts_of_those_on_its_border() -> None:
    row = np.array([[1.0, 2.0, 4.0]])
    # Half of the middle pixel belongs to each of two cells that are 1.5 px wide.
    expected = [(1 + 0.5 * 2) / 1.5, (0.5 * 2 + 4) / 1.5]
    np.testing.assert_allclose(cell_means(np.repeat(row, 3, axis=0), 1, 2), [expected])


@pytest.mark.parametrize(("height", "width"), [(3, 3), (5, 7), (1, 1)])
def test_the_mean_of_cells_is_that_of_the_pixels(height: int, width: int) -> None:
    pictures = np.random.default_rng(0).random((2, 5, SIDE, SIDE)).astype(np.float32)
    means = cell_means(pictures, height, width)
    assert means.shape == (2, 5, height, width)
    np.testing.assert_allclose(means.mean(axis=(2, 3)), pictures.mean(axis=(2, 3)), rtol=1e-6)


def test_a_box_covers_its_part_of_each_cell() -> None:
    # Cells of 12 x 8 px: the box takes rows 6-18 and columns 4-12.
    shares = covered_shares(np.array([4.0, 6.0, 12.0, 18.0]), 2, 3, SIDE)
    np.testing.assert_allclose(shares, [[0.25, 0.25, 0], [0.25, 0.25, 0]])


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_the_covered_shares_add_up_to_the_box(height: int, width: int, seed: int) -> None:
    x0, x1 = np.sort(np.random.default_rng(seed).uniform(0, SIDE, 2))
    y0, y1 = np.sort(np.random.default_rng(seed + 1).uniform(0, SIDE, 2))
    shares = covered_shares(np.array([x0, y0, x1, y1]), height, width, SIDE)
    assert shares.sum() * (SIDE / height) * (SIDE / width) == pytest.approx((x1 - x0) * (y1 - y0))
