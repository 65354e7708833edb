import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from stpa.average_precision import (
    average_precisions,
    mean_average_precision,
    rank,
    weighted_average_precision,
)

SCORES = np.array([[0.9, 0.1, 0.3], [0.8, 0.2, 0.3], [0.7, 0.3, 0.3], [0.6, 0.4, 0.3]])
LABELS = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 1, 0]], bool)


@st.composite
def judged(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Draw scores, many of them equal, and labels; some video has one."""
    num_videos, num_classes = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    size = num_videos * num_classes
    few_levels = st.sampled_from([-1e9, -1.5, 0.0, 0.25, 0.5, 3.0])
    scores = draw(st.lists(few_levels, min_size=size, max_size=size))
    labels = draw(st.lists(st.booleans(), min_size=size, max_size=size).filter(any))
    shape = (num_videos, num_classes)
    return np.reshape(scores, shape), np.reshape(labels, shape)


def test_the_table_that_is_computed_by_hand():
    # Ranks of the first class's videos are 1 and 3, of the second's 1, 2 and 3.
    found = average_precisions(SCORES, LABELS)
    np.testing.assert_allclose(found, [(1 + 2 / 3) / 2, 1, np.nan])
    assert mean_average_precision(SCORES, LABELS) == pytest.approx((5 / 6 + 1) / 2)
    assert weighted_average_precision(SCORES, LABELS) == pytest.approx((2 * 5 / 6 + 3 * 1) / 5)


def test_a_video_without_labels_does_not_count():
    scores = np.vstack([SCORES, [[9, 9, 9]]])
    labels = np.vstack([LABELS, [[False] * 3]])
    found = average_precisions(scores, labels)
    np.testing.assert_array_equal(found, average_precisions(SCORES, LABELS))


def test_equal_scores_share_the_precision_behind_them():
    labels = np.array([[True, False], [False, True], [False, True]])
    scores = np.ones((3, 2))
    np.testing.assert_allclose(average_precisions(scores, labels), [1 / 3, 2 / 3])


@given(judged())
def test_it_is_scikit_learns(case):
    scores, labels = case
    labelled = labels.any(axis=1)
    expected = [
        average_precision_score(labels[labelled, index], scores[labelled, index])
        if labels[:, index].any()
        else np.nan
        for index in range(labels.shape[1])
    ]
    found = average_precisions(scores, labels)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert mean_average_precision(scores, labels) == pytest.approx(np.nanmean(expected))
    shown = labels.any(axis=0)
    weighted = average_precision_score(
        labels[np.ix_(labelled, shown)], scores[np.ix_(labelled, shown)], average="weighted"
    )
    assert weighted_average_precision(scores, labels) == pytest.approx(weighted)


@given(judged(), st.randoms(use_true_random=False))
def test_the_order_of_the_videos_does_not_matter(case, random):
    scores, labels = case
    order = random.sample(range(len(scores)), len(scores))
    found = average_precisions(scores[order], labels[order])
    np.testing.assert_allclose(found, average_precisions(scores, labels), rtol=1e-12)


@given(judged(), st.data())
def test_a_weight_counts_a_video_so_often(case, data):
    scores, labels = case
    size = len(scores)
    weights = data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size).filter(any))
    repeated = rank(np.repeat(scores, weights, axis=0), np.repeat(labels, weights, axis=0))
    np.testing.assert_allclose(
        rank(scores, labels).average_precisions(np.array(weights, float)),
        repeated.average_precisions(np.ones(sum(weights))),
        rtol=1e-12,
    )
