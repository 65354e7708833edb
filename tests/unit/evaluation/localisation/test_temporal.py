"""Metrics of time, against scikit-learn, against plain loops, and by hand."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from stpa.evaluation.localisation.temporal import (
    temporal_ap,
    temporal_auc,
    temporal_energy,
    temporal_iou,
    temporal_iou_above_even,
)

METRICS = [temporal_auc, temporal_ap, temporal_energy, temporal_iou, temporal_iou_above_even]


@st.composite
def frames(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Draw weights, of which some are equal, and an action that some frames are in."""
    num_frames = draw(st.integers(2, 12))
    weights = draw(st.lists(st.integers(0, 4), min_size=num_frames, max_size=num_frames))
    inside = draw(st.lists(st.booleans(), min_size=num_frames, max_size=num_frames))
    inside[draw(st.integers(0, num_frames - 2))] = True
    inside[-1] = False
    return np.array(weights, float), np.array(inside)


@settings(max_examples=30)
@given(frames())
def test_auc_and_ap_are_scikit_learn_s(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    weights, inside = drawn
    assert temporal_auc(weights, inside) == pytest.approx(roc_auc_score(inside, weights))
    assert temporal_ap(weights, inside) == pytest.approx(average_precision_score(inside, weights))


@settings(max_examples=30)
@given(frames())
def test_the_reversed_order_has_the_rest_of_the_auc(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    weights, inside = drawn
    backwards = temporal_auc(weights.max() - weights, inside)
    assert backwards == pytest.approx(1 - temporal_auc(weights, inside))


@settings(max_examples=30)
@given(frames())
def test_the_top_frames_are_those_of_a_sorted_list_where_weights_differ(
    drawn: tuple[np.ndarray, np.ndarray],
) -> None:
    _, inside = drawn
    weights = np.random.default_rng(len(inside)).permutation(len(inside)).astype(float)
    taken = set(np.argsort(-weights)[: inside.sum()].tolist())
    action = set(np.flatnonzero(inside).tolist())
    expected = len(taken & action) / len(taken | action)
    assert temporal_iou(weights, inside) == pytest.approx(expected)


@pytest.mark.parametrize("level", [0.0, 1.0, 0.1])
def test_even_weights_and_zeros_score_chance(level: float) -> None:
    weights, inside = np.full(10, level), np.arange(10) < 3
    assert temporal_auc(weights, inside) == 0.5
    assert temporal_ap(weights, inside) == pytest.approx(0.3)
    assert temporal_energy(weights, inside) == pytest.approx(0.3)
    assert temporal_iou(weights, inside) == pytest.approx(0.9 / (6 - 0.9))  # 3 * 0.3 are shared
    assert temporal_iou_above_even(weights, inside) == pytest.approx(0.3)


@pytest.mark.parametrize("metric", METRICS)
def test_weights_on_the_action_alone_score_1(metric: Callable[..., float]) -> None:
    inside = np.array([False, True, True, False, False])
    assert metric(inside.astype(float), inside) == pytest.approx(1)
    assert metric(7.5 * inside, inside) == pytest.approx(1)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("inside", [np.ones(4, bool), np.zeros(4, bool)])
def test_without_frames_to_tell_apart_a_metric_is_undefined(
    metric: Callable[..., float], inside: np.ndarray
) -> None:
    assert np.isnan(metric(np.array([1.0, 2, 3, 4]), inside))


def test_a_case_by_hand() -> None:
    weights = np.array([0.1, 0.4, 0.3, 0.2])
    inside = np.array([False, True, False, True])
    assert temporal_auc(weights, inside) == 0.75  # of four pairs, 0.2 against 0.3 is lost
    assert temporal_energy(weights, inside) == pytest.approx(0.6)
    assert temporal_iou(weights, inside) == pytest.approx(1 / 3)  # {1, 2} and {1, 3}
    assert temporal_iou_above_even(weights, inside) == pytest.approx(1 / 3)  # above 0.25
