"""Metrics of space: cases worked out by hand, and what holds for any map."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stpa.evaluation.localisation.spatial import (
    TOLERANCE,
    box_ious,
    energy_in_box,
    pointing_game,
    share_from,
)

SIDE = 48


def peak(row: int, column: int, size: int = 4) -> np.ndarray:
    cells = np.zeros((size, size))
    cells[row, column] = 1
    return cells


def box(*corners: float) -> np.ndarray:
    return np.array([corners], float)


def random_box(seed: int) -> np.ndarray:
    x0, y0 = np.random.default_rng(seed).integers(0, SIDE - 8, 2)
    width, height = np.random.default_rng(seed + 1).integers(4, 8, 2)
    return box(x0, y0, x0 + width, y0 + height)


@settings(max_examples=30)
@given(st.integers(0, 99))
def test_the_map_that_is_the_box_itself_scores_1(seed: int) -> None:
    boxes = random_box(seed)
    x0, y0, x1, y1 = boxes[0].astype(int)
    maps = np.zeros((1, SIDE, SIDE))
    maps[:, y0:y1, x0:x1] = 0.3
    assert pointing_game(maps, boxes, SIDE) == 1
    assert energy_in_box(maps, boxes, SIDE) == pytest.approx(1)
    assert box_ious(maps, boxes, SIDE).tolist() == [1]


@settings(max_examples=30)
@given(st.integers(0, 99), st.integers(1, 9), st.integers(1, 9), st.sampled_from([0.0, 1.0, 3.7]))
def test_an_even_map_and_a_map_of_zeros_score_what_the_box_covers(
    seed: int, height: int, width: int, level: float
) -> None:
    boxes = np.concatenate([random_box(seed), random_box(seed + 200)])
    maps = np.full((2, height, width), level)
    shares = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / SIDE**2
    assert energy_in_box(maps, boxes, SIDE) == pytest.approx(shares.mean())
    assert box_ious(maps, boxes, SIDE) == pytest.approx(shares)
    margin, centres = TOLERANCE * SIDE, np.arange(SIDE) + 0.5
    widened = []
    for x0, y0, x1, y1 in boxes:
        columns = (centres >= x0 - margin) & (centres <= x1 + margin)
        rows = (centres >= y0 - margin) & (centres <= y1 + margin)
        widened.append(columns.mean() * rows.mean())
    assert pointing_game(maps, boxes, SIDE) == pytest.approx(np.mean(widened))


def test_pointing_is_by_the_highest_point_between_the_cells() -> None:
    # Cells of 12 px: the centre of row 1, column 2 is at (x, y) = (30, 18).
    maps = peak(1, 2)[None]
    assert pointing_game(maps, box(29, 17, 31, 19), SIDE) == 1
    assert pointing_game(maps, box(0, 0, 12, 12), SIDE) == 0


@pytest.mark.parametrize(("gap_px", "expected"), [(3.0, 1.0), (4.5, 0.0)])
def test_a_miss_within_the_tolerance_counts(gap_px: float, expected: float) -> None:
    # 15 px at 224 are 3.2 px at 48; the pixels at the peak have their centres at 29.5 and 30.5.
    maps = peak(1, 2)[None]
    assert pointing_game(maps, box(29.5 + gap_px, 10, 48, 30), SIDE) == expected


def test_each_frame_points_once_and_equal_peaks_share_the_point() -> None:
    boxes = np.concatenate([box(24, 12, 36, 24)] * 3)
    maps = np.stack([peak(1, 2), peak(2, 1), peak(1, 2) + peak(2, 1)])
    assert pointing_game(maps, boxes, SIDE) == pytest.approx((1 + 0 + 1 / 2) / 3)
    assert pointing_game(maps[:2], boxes[:2], SIDE) == 0.5


def test_energy_is_of_all_frames_together() -> None:
    boxes = np.concatenate([box(0, 0, 12, 12)] * 2)
    maps = np.stack([3 * peak(0, 0), peak(3, 3)])
    assert energy_in_box(maps, boxes, SIDE) == 0.75


def test_half_a_cell_in_the_box_is_half_of_its_weight() -> None:
    assert energy_in_box(peak(0, 0)[None], box(0, 0, 6, 48), SIDE) == pytest.approx(0.5)


def test_the_largest_part_above_the_level_draws_the_box() -> None:
    maps = np.zeros((1, SIDE, SIDE))
    maps[0, 2:5, 2:5] = 0.9  # higher, but smaller
    maps[0, 20:30, 24:40] = 0.8
    maps[0, 40:48, 0:48] = 0.70  # 0.70 / 0.9 < 200 / 255
    assert box_ious(maps, box(24, 20, 40, 30), SIDE).tolist() == [1]
    # Half of the drawn box, and as much again beside it: 80 / (160 + 160 - 80).
    assert box_ious(maps, box(32, 20, 48, 30), SIDE) == pytest.approx([1 / 3])


def test_ious_become_the_share_of_frames_from_a_least_one() -> None:
    assert share_from(np.array([0.2, 0.3, 0.6, 0.1]), 0.3) == 0.5
    assert np.isnan(share_from(np.array([]), 0.3))


def test_frames_without_a_box_do_not_count() -> None:
    boxes = np.concatenate([box(0, 0, 12, 12), np.full((1, 4), np.nan)])
    maps = np.stack([peak(0, 0), peak(3, 3)])
    assert pointing_game(maps, boxes, SIDE) == 1
    assert energy_in_box(maps, boxes, SIDE) == 1
    assert len(box_ious(maps, boxes, SIDE)) == 1
    assert np.isnan(pointing_game(maps[1:], boxes[1:], SIDE))
    assert np.isnan(energy_in_box(maps[1:], boxes[1:], SIDE))


@settings(max_examples=30)
@given(st.integers(0, 99), st.floats(0.01, 1000))
def test_the_scale_of_a_map_does_not_matter(seed: int, scale: float) -> None:
    maps, boxes = np.random.default_rng(seed).random((1, 5, 5)), random_box(seed)
    for metric in (pointing_game, energy_in_box, box_ious):
        found = metric(scale * maps, boxes, SIDE)
        assert found == pytest.approx(metric(maps, boxes, SIDE))
