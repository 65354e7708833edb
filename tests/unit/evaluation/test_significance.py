import numpy as np
import pytest

from stpa.average_precision import mean_average_precision
from stpa.evaluation.significance import (
    accuracy_against_chance,
    compare_map,
    compare_paired,
    map_against_chance,
    map_interval,
    wilson_interval,
)


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


def _scores(noise: float, num_videos: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Return scores that tell four classes the worse the more `noise` there is, and labels."""
    random = np.random.default_rng(0)
    labels = random.random((num_videos, 4)) < [0.5, 0.3, 0.2, 0.1]
    return labels + noise * random.normal(size=labels.shape), labels


def test_of_independent_videos_chance_deals_answers_out_to_labels():
    answers, labels = [*"aaaabbbb"], [*"aaabbbba"]
    chance = accuracy_against_chance(answers, labels, [*"12345678"], seed=0)
    # Of the 4 that are told a, 3 are: hypergeometric, P(3 or 4) = (16 + 1) / 70.
    assert chance.level == pytest.approx(0.5, abs=0.01)
    assert chance.p_value == pytest.approx(17 / 70, abs=0.03)


def test_an_answer_that_is_always_the_same_is_at_chance():
    labels = "a" * 95 + "b" * 5
    chance = accuracy_against_chance([*"a"] * 100, [*labels], [str(n) for n in range(100)], seed=0)
    assert (chance.level, chance.p_value) == (0.95, 1.0)


@pytest.mark.parametrize("classes_of", ["one class each", "all classes"])
def test_answers_that_follow_recordings_are_rarely_taken_for_knowledge(classes_of):
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), 5)
    found = []
    for seed in range(100):
        labels = (groups if classes_of == "one class each" else np.arange(60)) % 3
        answers = random.integers(3, size=12)[groups]  # the same for all videos of a recording
        found.append(accuracy_against_chance(answers, labels, groups, seed).p_value)
    assert np.mean(np.array(found) < 0.05) <= 0.1  # 0.05 is expected


@pytest.mark.parametrize("classes_of", ["one class each", "all classes"])
def test_knowledge_is_found_whatever_recordings_show(classes_of):
    groups = np.repeat(np.arange(12), 5)
    labels = (groups if classes_of == "one class each" else np.arange(60)) % 3
    answers = np.where(np.arange(60) % 5 == 0, 0, labels)
    assert accuracy_against_chance(answers, labels, groups, seed=0).p_value < 0.01


def test_the_interval_of_map_covers_it_and_narrows_with_more_videos():
    widths = []
    for num_videos in (40, 400):
        scores, labels = _scores(0.7, num_videos)
        interval = map_interval(scores, labels, seed=0)
        assert interval.low < mean_average_precision(scores, labels) < interval.high
        widths.append(interval.high - interval.low)
    assert widths[1] < widths[0] / 2


def test_the_same_scores_gain_nothing_for_sure():
    scores, labels = _scores(0.7)
    gain = compare_map(scores, scores, labels, seed=0)
    assert (gain.gain, gain.gain_interval.low, gain.gain_interval.high) == (0, 0, 0)


def test_a_clear_gain_in_map_is_told_from_none():
    (good, labels), (bad, _) = _scores(0.3), _scores(3)
    gain = compare_map(good, bad, labels, seed=0)
    assert 0 < gain.gain_interval.low < gain.gain < gain.gain_interval.high
    back = compare_map(bad, good, labels, seed=0)
    assert back.gain == -gain.gain
    assert "interval +0." in gain.describe()


def test_map_is_told_from_chance_whose_level_is_about_the_share_of_videos():
    scores, labels = _scores(0.3, num_videos=400)
    chance = map_against_chance(scores, labels, seed=0)
    assert chance.p_value == pytest.approx(1 / 1001)
    shares = labels[labels.any(axis=1)].mean(axis=0)
    assert chance.level == pytest.approx(shares.mean(), abs=0.02)
    scores, labels = _scores(1e6)
    assert map_against_chance(scores, labels, seed=0).p_value > 0.05


def test_scores_that_order_nothing_are_at_chance():
    _, labels = _scores(0.3)
    assert map_against_chance(np.zeros(labels.shape), labels, seed=0).p_value == 1


def test_videos_without_labels_change_no_interval():
    scores, labels = _scores(0.7)
    more_scores = np.vstack([scores, np.full((5, 4), 9.0)])
    more_labels = np.vstack([labels, np.zeros((5, 4), bool)])
    assert map_interval(more_scores, more_labels, 0) == map_interval(scores, labels, 0)
