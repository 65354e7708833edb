"""Fitted fusion: the optimum of its likelihood, whatever the streams know."""

from typing import Any

import numpy as np
import pytest

from stpa.errors import DataError
from stpa.evaluation.fitted_fusion import EVEN, PRIOR_RECORDINGS, fit_fusion, surprise
from stpa.evaluation.fusion import FITTED, Fusion, fuse
from stpa.evaluation.scores import Scores

NUM_CLASSES = 4


def scores(stream: str, logits: np.ndarray, labels: np.ndarray, **changed: Any) -> Scores:
    values: dict[str, Any] = {
        "head": "tsn",
        "model_key": stream,
        "data_version": "d",
        "class_names": tuple("abcd"),
        "multi_label": False,
        "video_ids": tuple(map(str, range(len(labels)))),
    }
    return Scores(stream=stream, labels=labels, logits={5: logits}, **(values | changed))


def one_hot(indices: np.ndarray) -> np.ndarray:
    return np.eye(NUM_CLASSES, dtype=bool)[indices]


def known(indices: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Make logits of a stream that knows the classes so well."""
    noise = rng.normal(size=(len(indices), NUM_CLASSES))
    return noise + strength * np.eye(NUM_CLASSES)[indices]


def streams(of_rgb: float, of_flow: float, num_videos: int, seed: int = 0) -> tuple[Scores, Scores]:
    rng = np.random.default_rng(seed)
    indices = rng.integers(NUM_CLASSES, size=num_videos)
    labels = one_hot(indices)
    return (
        scores("rgb", known(indices, of_rgb, rng), labels),
        scores("flow", known(indices, of_flow, rng), labels),
    )


def naive_cost(weights: np.ndarray, rgb: Scores, flow: Scores, num_recordings: int) -> float:
    """The cost as it is defined: a loop over videos, in plain arithmetic."""
    total = 0.0
    for r, f, label in zip(rgb.logits[5], flow.logits[5], rgb.labels, strict=True):
        z = weights[0] * r + weights[1] * f
        if rgb.multi_label:
            p = 1 / (1 + np.exp(-z))
            total -= np.log(np.where(label, p, 1 - p)).sum()
        else:
            total -= np.log(np.exp(z)[label].sum() / np.exp(z).sum())
    distance = (weights[0] - EVEN[0]) ** 2 + (weights[1] - EVEN[1]) ** 2
    return total / len(rgb.labels) + PRIOR_RECORDINGS / num_recordings * distance


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize(("of_rgb", "of_flow"), [(1.0, 2.0), (0.0, 3.0), (0.5, 0.5)])
def test_no_weights_on_a_fine_grid_are_better(of_rgb, of_flow, multi_label):
    rgb, flow = streams(of_rgb, of_flow, num_videos=80)
    if multi_label:
        labels = rgb.labels | np.roll(rgb.labels, 1, axis=0)
        rgb, flow = (
            scores(each.stream, each.logits[5], labels, multi_label=True) for each in (rgb, flow)
        )
    fusion = fit_fusion(rgb, flow, num_recordings=20)
    assert fusion.weights is not None
    fitted = naive_cost(np.array(fusion.weights), rgb, flow, 20)
    grid = np.linspace(0, 4, 41)
    best = min(naive_cost(np.array([a, b]), rgb, flow, 20) for a in grid for b in grid)
    assert fitted <= best + 1e-9
    assert fitted == pytest.approx(best, abs=3e-3)  # and the cost is the one that is stated


def test_a_stream_that_guesses_with_confidence_does_not_count():
    rng = np.random.default_rng(1)
    rgb, flow = streams(0.0, 4.0, num_videos=200)
    sure = 8 * one_hot(rng.integers(NUM_CLASSES, size=200))
    rgb = scores("rgb", sure.astype(float), rgb.labels)
    fusion = fit_fusion(rgb, flow, num_recordings=50)
    assert fusion.weights is not None
    assert fusion.weights[0] < 0.1 < fusion.weights[1]
    new_rgb, new_flow = streams(0.0, 4.0, num_videos=500, seed=2)
    guessed = 8 * one_hot(rng.integers(NUM_CLASSES, size=500))
    new_rgb = scores("rgb", guessed.astype(float), new_rgb.labels)
    fitted, even = (fuse(new_rgb, new_flow, each) for each in (fusion, Fusion("average_logits")))
    assert fitted.headline(5) > even.headline(5) + 0.2
    assert fitted.headline(5) >= new_flow.headline(5) - 0.01


def test_weights_are_never_negative():
    rgb, flow = streams(3.0, 3.0, num_videos=100)
    wrong = scores("flow", -flow.logits[5], flow.labels)
    fusion = fit_fusion(rgb, wrong, num_recordings=1000)
    assert fusion.weights is not None
    assert fusion.weights[1] == 0.0


def test_streams_that_are_both_wrong_keep_an_order_without_confidence():
    rgb, flow = streams(3.0, 3.0, num_videos=100)
    wrong = [scores(each.stream, -each.logits[5], each.labels) for each in (rgb, flow)]
    fusion = fit_fusion(wrong[0], wrong[1], num_recordings=1000)
    assert fusion.weights is not None
    assert 0 < sum(fusion.weights) < 0.02
    fused = fuse(wrong[0], wrong[1], fusion)
    assert len(set(fused.logits[5].argmax(axis=1))) > 1


def test_few_recordings_that_are_all_right_do_not_make_weights_large():
    rgb, flow = streams(30.0, 30.0, num_videos=20)
    few, many = (fit_fusion(rgb, flow, each).weights for each in (2, 10**6))
    assert few is not None
    assert many is not None
    assert np.allclose(few, EVEN, atol=0.05)
    assert np.isfinite(many).all()


def test_probabilities_are_calibrated_by_the_fit():
    rgb, flow = streams(1.0, 2.0, num_videos=4000)
    fusion = fit_fusion(rgb, flow, num_recordings=1000)
    fused = fuse(rgb, flow, fusion)
    confidence = fused.judging.probabilities(fused.logits[5]).max(axis=1).mean()
    assert confidence == pytest.approx(fused.headline(5), abs=0.02)


def test_surprise_is_the_negative_log_likelihood():
    labels = np.array([[True, False, False, False], [False, True, False, True]])
    logits = np.array([[1000.0, 0, 0, 0], [0.0, 0, 0, 0]])
    one = scores("rgb", logits, labels)
    many = scores("rgb", logits, labels, multi_label=True)
    assert surprise(logits, one)[0] == 0.0
    assert surprise(logits, many).tolist() == pytest.approx([3 * np.log(2), 4 * np.log(2)])


def test_streams_of_different_videos_are_refused():
    rgb, flow = streams(1, 1, num_videos=4)
    flow = scores("flow", flow.logits[5], flow.labels, video_ids=("1", "0", "2", "3"))
    with pytest.raises(DataError, match="different videos"):
        fit_fusion(rgb, flow, num_recordings=4)


def test_a_fitted_fusion_says_its_weights():
    assert str(Fusion(FITTED, (0.0, 1.234))) == "fitted (0.00 RGB + 1.23 flow)"
    assert str(Fusion("tsn_weighted")) == "tsn_weighted"
