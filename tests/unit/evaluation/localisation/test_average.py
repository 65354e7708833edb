"""Means over actions, and intervals over recordings."""

import numpy as np
import pytest

from stpa.evaluation.localisation.average import Average, average
from stpa.evaluation.localisation.localise import Measured


def measured(values: list[float]) -> list[Measured]:
    return [{"attention": {"pointing": value}} for value in values]


def averaged(values: list[float], groups: list[str]) -> Average:
    return average(measured(values), groups, seed=0)["attention"]["pointing"]


def test_undefined_values_are_left_out_of_the_mean_and_counted() -> None:
    found = averaged([0.2, np.nan, 0.6, np.nan, 0.4], ["a", "a", "b", "c", "b"])
    assert found.mean == pytest.approx(0.4)
    assert found.num_undefined == 2


def test_the_interval_is_over_recordings() -> None:
    # Ten recordings of twenty equal videos: no more is known than from ten videos.
    values = np.random.default_rng(0).random(10)
    groups = [f"g{index}" for index in range(10)]
    alone = averaged(values.tolist(), groups)
    repeated = averaged(np.repeat(values, 20).tolist(), np.repeat(groups, 20).tolist())
    assert alone.interval is not None
    assert repeated.interval is not None
    assert repeated.interval.low == pytest.approx(alone.interval.low)
    assert repeated.interval.high == pytest.approx(alone.interval.high)
    # The bootstrap's spread: the standard error, with 10 in place of 9.
    half_width = (alone.interval.high - alone.interval.low) / 2
    assert half_width == pytest.approx(1.96 * values.std() / np.sqrt(10), rel=0.05)


def test_each_video_counts_once_however_large_its_recording() -> None:
    assert averaged([1.0, 0.0, 0.0, 0.0], ["a", "b", "b", "b"]).mean == 0.25
    interval = averaged([1.0, 0.0, 0.0, 0.0], ["a", "b", "b", "b"]).interval
    assert interval is not None
    assert (interval.low, interval.high) == (0, 1)


@pytest.mark.parametrize("groups", [["a", "a", "a"], ["a", "a", "b"]])
def test_one_recording_with_a_value_has_no_interval(groups: list[str]) -> None:
    found = averaged([0.1, 0.3, np.nan], groups)
    assert found.mean == pytest.approx(0.2)
    assert found.interval is None


def test_without_any_value_there_is_no_mean() -> None:
    found = averaged([np.nan, np.nan], ["a", "b"])
    assert np.isnan(found.mean)
    assert (found.interval, found.num_undefined) == (None, 2)


def test_maps_and_metrics_are_averaged_each_by_itself_on_the_same_draws() -> None:
    values = np.random.default_rng(1).random((8, 2))
    actions: list[Measured] = [
        {"attention": {"pointing": a, "deletion": b}, "uniform": {"pointing": a}} for a, b in values
    ]
    found = average(actions, list("aabbccdd"), seed=3)
    assert found["attention"]["pointing"] == found["uniform"]["pointing"]
    means = [found["attention"][name].mean for name in ("pointing", "deletion")]
    assert means == pytest.approx(values.mean(axis=0))
    assert "deletion" not in found["uniform"]
