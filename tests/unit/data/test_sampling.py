import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stpa.data import sampling

COUNTS = st.integers(1, 400)
SEGMENTS = st.integers(1, 40)
SPANS = st.sampled_from([1, sampling.STACK_LENGTH])


@pytest.mark.parametrize(
    ("num_frames", "num_segments", "span", "expected"),
    [
        (30, 3, 1, [5, 15, 25]),
        (31, 3, 1, [5, 15, 25]),
        (34, 3, 5, [5, 15, 25]),
        (10, 1, 1, [5]),
        (2, 4, 1, [0, 0, 1, 1]),
        (5, 3, 5, [0, 0, 0]),
        (4, 3, 5, [0, 0, 0]),
    ],
)
def test_evaluation_takes_the_middle_of_each_segment(num_frames, num_segments, span, expected):
    positions = sampling.test_positions(num_frames, num_segments, span)
    assert positions.tolist() == expected


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
