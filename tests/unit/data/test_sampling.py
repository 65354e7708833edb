from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stpa.data import sampling
from stpa.streams import STACK_LENGTH
from tests.twin import tsn_twin

COUNTS = st.integers(1, 400)
SEGMENTS = st.integers(1, 40)
SPANS = st.sampled_from([1, STACK_LENGTH])


@pytest.mark.parametrize(
    ("num_frames", "num_segments", "span", "expected"),
    [
        (30, 3, 1, [5, 15, 25]),
        (31, 3, 1, [5, 15, 25]),
        (34, 3, 5, [5, 15, 25]),
        (10, 1, 1, [5]),
        (6, 7, 1, [0, 1, 2, 3, 3, 4, 5]),  # where TSN's own code gives [0, 1, 2, 2, 3, 4, 5]
        (2, 4, 1, [0, 0, 1, 1]),
        (5, 3, 5, [0, 0, 0]),
        (4, 3, 5, [0, 0, 0]),
    ],
)
def test_evaluation_takes_the_middle_of_each_segment(num_frames, num_segments, span, expected):
    positions = sampling.test_positions(num_frames, num_segments, span)
    assert positions.tolist() == expected


@settings(max_examples=1000)
@given(COUNTS, SEGMENTS, SPANS)
def test_evaluation_takes_tsn_s_positions_but_for_its_rounding(num_starts, num_segments, span):
    num_frames = num_starts + span - 1
    positions = sampling.test_positions(num_frames, num_segments, span).tolist()
    rounded = tsn_twin.test_positions(num_frames, num_segments, span)
    for segment, (position, tsn) in enumerate(zip(positions, rounded, strict=True)):
        middle = Fraction((2 * segment + 1) * num_starts, 2 * num_segments)
        assert position == middle // 1
        assert position == tsn or (position == middle and tsn == middle - 1)


@given(st.integers(1, 100_000), SPANS)
def test_exact_grid_of_the_paper_s_sweep_looks_at_85_frames_at_most(num_frames, span):
    grid = sampling.exact_grid(num_frames, [1, 5, 10, 15, 20, 25, 30], span)
    assert len(set(np.concatenate(list(grid.values())).tolist())) <= 85


@given(COUNTS, SEGMENTS, SPANS)
def test_evaluation_spans_end_within_the_video(num_frames, num_segments, span):
    positions = sampling.test_positions(num_frames, num_segments, span)
    assert positions.shape == (num_segments,)
    assert np.all(np.diff(positions) >= 0)
    assert positions[0] >= 0
    assert positions[-1] <= max(num_frames - span, 0)


@given(COUNTS, SEGMENTS, SPANS, st.integers(0, 9))
def test_training_draws_one_position_in_each_segment(num_frames, num_segments, span, seed):
    rng = np.random.default_rng(seed)
    positions = sampling.train_positions(num_frames, num_segments, span, rng)
    length = (num_frames - span + 1) // num_segments
    assert positions.shape == (num_segments,)
    if length > 0:
        assert (positions // length).tolist() == list(range(num_segments))
    else:
        assert np.all(np.diff(positions) >= 0)
        assert positions[0] >= 0
        assert positions[-1] <= max(num_frames - span, 0)


@settings(max_examples=1000)
@given(COUNTS, SEGMENTS, SPANS, st.integers(0, 2**32 - 1))
def test_training_draws_from_tsn_s_segments(num_starts, num_segments, span, seed):
    num_frames = max(num_starts, num_segments) + span - 1
    drawn = sampling.train_positions(num_frames, num_segments, span, np.random.default_rng(seed))
    ranges = tsn_twin.train_ranges(num_frames, num_segments, span)
    assert all(place in part for place, part in zip(drawn.tolist(), ranges, strict=True))


@settings(max_examples=50)
@given(SEGMENTS, st.integers(1, 9), st.integers(0, 39), SPANS)
def test_training_draws_from_all_of_tsn_s_segments(num_segments, average, rest, span):
    num_frames = num_segments * average + rest % num_segments + span - 1
    rng = np.random.default_rng(num_frames)
    drawn = [sampling.train_positions(num_frames, num_segments, span, rng) for _ in range(300)]
    seen = [set(column) for column in np.stack(drawn).T.tolist()]
    assert seen == [set(part) for part in tsn_twin.train_ranges(num_frames, num_segments, span)]


def test_training_reaches_every_place_of_a_segment():
    rng = np.random.default_rng(0)
    drawn = np.stack([sampling.train_positions(9, 3, 1, rng) for _ in range(200)])
    assert [sorted(set(column)) for column in drawn.T.tolist()] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_training_on_a_video_with_few_starts_reaches_all_of_them():
    rng = np.random.default_rng(0)
    drawn = np.stack([sampling.train_positions(6, 4, 5, rng) for _ in range(100)])
    assert set(drawn.ravel().tolist()) == {0, 1}


def test_training_on_a_video_shorter_than_a_span_starts_at_zero():
    assert sampling.train_positions(4, 3, 5, np.random.default_rng(0)).tolist() == [0, 0, 0]


@given(COUNTS, st.lists(SEGMENTS, min_size=1, max_size=7, unique=True), SPANS)
def test_nested_grid_looks_where_its_largest_k_does_and_nowhere_else(num_starts, sweep, span):
    num_frames = num_starts + span - 1
    grid = sampling.nested_grid(num_frames, sweep, span)
    largest = sampling.test_positions(num_frames, max(sweep), span)
    assert grid[max(sweep)].tolist() == largest.tolist()
    for k in sweep:
        assert len(grid[k]) == k
        assert np.all(np.diff(grid[k]) >= 0)
        assert set(grid[k]) <= set(largest)


@given(COUNTS, st.lists(SEGMENTS, min_size=1, max_size=7, unique=True), SPANS)
def test_nested_positions_are_near_the_exact_ones(num_starts, sweep, span):
    num_frames = num_starts + span - 1
    nested = sampling.nested_grid(num_frames, sweep, span)
    exact = sampling.exact_grid(num_frames, sweep, span)
    for k in sweep:
        assert np.abs(nested[k] - exact[k]).max() <= num_starts / max(sweep) / 2 + 1
