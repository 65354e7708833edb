import numpy as np
import pytest

from stpa.evaluation.significance import compare_paired, wilson_interval


def _rights(num_right: int, num_videos: int) -> np.ndarray:
    return np.arange(num_videos) < num_right


def test_wilson_interval_is_the_textbook_one():
    # Newcombe (1998), table I: 81 of 263.
    interval = wilson_interval(_rights(81, 263))
    assert (interval.low, interval.high) == pytest.approx((0.2553, 0.3662), abs=1e-4)


def test_wilson_interval_of_no_error_still_has_a_width():
    interval = wilson_interval(_rights(10, 10))
    assert interval.low < 0.8
    assert interval.high == 1


def test_mcnemar_counts_only_the_videos_that_part_the_two():
    both, neither = [(True, True)] * 50, [(False, False)] * 30
    parting = [(True, False)] * 9 + [(False, True)]
    first, second = np.array(both + neither + parting).T
    comparison = compare_paired(first, second, seed=0)
    assert (comparison.only_first, comparison.only_second) == (9, 1)
    assert comparison.gain == pytest.approx(8 / 90)
    assert comparison.p_value == pytest.approx(2 * (1 + 10) / 2**10)


def test_a_classifier_does_not_differ_from_itself():
    rights = _rights(7, 12)
    comparison = compare_paired(rights, rights, seed=0)
    assert comparison.p_value == 1
    assert comparison.gain == comparison.gain_interval.low == comparison.gain_interval.high == 0


def test_bootstrap_interval_agrees_with_resampling_the_videos():
    random = np.random.default_rng(1)
    first, second = random.random(80) < 0.8, random.random(80) < 0.6
    chosen = random.integers(80, size=(10_000, 80))
    gains = (first[chosen].astype(float) - second[chosen]).mean(axis=1)
    interval = compare_paired(first, second, seed=0).gain_interval
    expected = tuple(np.quantile(gains, [0.025, 0.975]))
    assert (interval.low, interval.high) == pytest.approx(expected, abs=0.015)


def test_equal_seeds_give_equal_intervals():
    random = np.random.default_rng(2)
    first, second = random.random((2, 5000)) < 0.5  # many, so that intervals are finely stepped
    once, again = (compare_paired(first, second, seed=3) for _ in range(2))
    assert once == again


def test_swapping_the_two_turns_the_gain_round():
    first, second = _rights(9, 20), _rights(4, 20)
    there, back = compare_paired(first, second, 0), compare_paired(second, first, 0)
    assert there.gain == -back.gain == 0.25
    assert there.p_value == back.p_value
