"""Fitted fusion: the optimum of its likelihood, whatever the streams know."""

from typing import Any

import numpy as np
import pytest

from stpa.errors import DataError
from stpa.evaluation.fitted_fusion import PRIOR_RECORDINGS, even_fusion, fit_fusion, surprise
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
    distance = (weights[0] - 0.5) ** 2 + (weights[1] - 0.5) ** 2
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
    fusion = fit_fusion([rgb, flow], num_recordings=20)
    assert fusion.weights is not None
    fitted = naive_cost(np.array(list(fusion.weights.values())), rgb, flow, 20)
    grid = np.linspace(0, 4, 41)
    best = min(naive_cost(np.array([a, b]), rgb, flow, 20) for a in grid for b in grid)
    assert fitted <= best + 1e-9
    assert fitted == pytest.approx(best, abs=3e-3)  # and the cost is the one that is stated


def test_a_stream_that_guesses_with_confidence_does_not_count():
    rng = np.random.default_rng(1)
    rgb, flow = streams(0.0, 4.0, num_videos=200)
    sure = 8 * one_hot(rng.integers(NUM_CLASSES, size=200))
    rgb = scores("rgb", sure.astype(float), rgb.labels)
    fusion = fit_fusion([rgb, flow], num_recordings=50)
    assert fusion.weights is not None
    assert fusion.weights["rgb"] < 0.1 < fusion.weights["flow"]
    new_rgb, new_flow = streams(0.0, 4.0, num_videos=500, seed=2)
    guessed = 8 * one_hot(rng.integers(NUM_CLASSES, size=500))
    new_rgb = scores("rgb", guessed.astype(float), new_rgb.labels)
    fitted, even = (fuse([new_rgb, new_flow], each) for each in (fusion, Fusion("average_logits")))
    assert fitted.headline(5) > even.headline(5) + 0.2
    assert fitted.headline(5) >= new_flow.headline(5) - 0.01


def test_weights_are_never_negative():
    rgb, flow = streams(3.0, 3.0, num_videos=100)
    wrong = scores("flow", -flow.logits[5], flow.labels)
    fusion = fit_fusion([rgb, wrong], num_recordings=1000)
    assert fusion.weights is not None
    assert fusion.weights["flow"] == 0.0


def test_streams_that_are_both_wrong_keep_an_order_without_confidence():
    rgb, flow = streams(3.0, 3.0, num_videos=100)
    wrong = [scores(each.stream, -each.logits[5], each.labels) for each in (rgb, flow)]
    fusion = fit_fusion(wrong, num_recordings=1000)
    assert fusion.weights is not None
    assert 0 < sum(fusion.weights.values()) < 0.02
    fused = fuse(wrong, fusion)
    assert len(set(fused.logits[5].argmax(axis=1))) > 1


def test_few_recordings_that_are_all_right_do_not_make_weights_large():
    rgb, flow = streams(30.0, 30.0, num_videos=20)
    few, many = (fit_fusion([rgb, flow], each).weights for each in (2, 10**6))
    assert few is not None
    assert many is not None
    assert np.allclose(list(few.values()), 0.5, atol=0.05)
    assert np.isfinite(list(many.values())).all()


def test_probabilities_are_calibrated_by_the_fit():
    rgb, flow = streams(1.0, 2.0, num_videos=4000)
    fusion = fit_fusion([rgb, flow], num_recordings=1000)
    fused = fuse([rgb, flow], fusion)
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
        fit_fusion([rgb, flow], num_recordings=4)


def test_a_fitted_fusion_says_its_weights():
    assert (
        str(Fusion(FITTED, {"rgb": 0.0, "flow": 1.234})) == "fitted (0.00 RGB + 1.23 optical flow)"
    )
    assert str(Fusion("tsn_weighted")) == "tsn_weighted"


def test_three_streams_are_weighed_and_the_one_that_guesses_least():
    rgb, flow = streams(2.0, 3.0, num_videos=300)
    rng = np.random.default_rng(5)
    guess = scores("rgb_difference", 5 * known(rng.integers(4, size=300), 0.0, rng), rgb.labels)
    fusion = fit_fusion([rgb, flow, guess], num_recordings=300)
    assert fusion.weights is not None
    assert list(fusion.weights) == ["rgb", "flow", "rgb_difference"]
    assert (
        fusion.weights["rgb_difference"] < 0.1 < min(fusion.weights["rgb"], fusion.weights["flow"])
    )
    fused, two = fuse([rgb, flow, guess], fusion), fit_fusion([rgb, flow], 300)
    assert fused.headline(5) >= fuse([rgb, flow], two).headline(5) - 0.01


def test_a_single_stream_is_calibrated_too():
    rgb, _ = streams(2.0, 0.0, num_videos=2000)
    loud = scores("rgb", 10 * rgb.logits[5], rgb.labels)
    fusion = fit_fusion([loud], num_recordings=2000)
    assert fusion.weights is not None
    quiet = fit_fusion([rgb], num_recordings=2000).weights
    assert quiet is not None
    assert fusion.weights["rgb"] == pytest.approx(quiet["rgb"] / 10, rel=0.02)


def test_without_anything_to_fit_all_streams_count_alike():
    assert even_fusion(["a", "b", "c", "d"]) == Fusion(FITTED, dict.fromkeys("abcd", 0.25))
