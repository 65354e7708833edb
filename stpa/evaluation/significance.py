"""How sure a figure, or the difference of two on the same videos, is.

Accuracies have exact tests; mean average precisions (mAP) are resampled. Equal seeds give equal
intervals.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from stpa.average_precision import drop_unlabelled, mean_average_precision, rank
from stpa.shapes import Bool, Float

CONFIDENCE = 0.95
NUM_RESAMPLES = 10_000
_NUM_MAP_RESAMPLES = 1_000
"""Each takes about 10 ms for 2,000 videos of 157 classes."""
_NUM_DEALS = 2_000
"""Each takes about 0.4 ms for 4,000 videos."""
_ROUNDING = 1e-9
"""Equal orders of other videos add up to slightly different sums."""


@dataclass(frozen=True)
class Interval:
    """Covers the true value in `CONFIDENCE` of all samples."""

    low: float
    high: float


@dataclass(frozen=True)
class Gain:
    """What one classifier is ahead of another on the same videos."""

    gain: float
    """The figure of the first less that of the second."""
    gain_interval: Interval
    """From a paired bootstrap over videos."""

    def describe(self) -> str:
        """Say in a few words how sure the gain is."""
        low, high = self.gain_interval.low, self.gain_interval.high
        return f"{CONFIDENCE:.0%} interval {low:+.3f} to {high:+.3f}"


@dataclass(frozen=True)
class PairedComparison(Gain):
    """A gain in top-1."""

    only_first: int
    """Videos that the first alone classifies rightly."""
    only_second: int
    p_value: float
    """Of McNemar's exact test, two-sided: how often chance alone parts two equals this far."""

    def describe(self) -> str:
        """Say in a few words how sure the gain is."""
        return f"{self.only_first} won, {self.only_second} lost, McNemar p = {self.p_value:.2g}"


@dataclass(frozen=True)
class Chance:
    """What guessing gives, against what a classifier gave."""

    level: float
    p_value: float
    """How often guessing gives as much as the classifier gave, or more."""


def wilson_interval(correct: Bool[np.ndarray, " videos"]) -> Interval:
    """Return Wilson's interval of one accuracy: sound near 0 and 1 and for few videos."""
    from scipy.stats import binomtest  # slow to import

    test = binomtest(int(correct.sum()), len(correct))
    interval = test.proportion_ci(confidence_level=CONFIDENCE, method="wilson")
    return Interval(float(interval.low), float(interval.high))


def compare_paired(
    first: Bool[np.ndarray, " videos"], second: Bool[np.ndarray, " videos"], seed: int
) -> PairedComparison:
    """Compare two classifiers by which videos each got right."""
    from scipy.stats import binomtest  # slow to import

    num_videos = len(first)
    only_first = int((first & ~second).sum())
    only_second = int((second & ~first).sum())
    discordant = only_first + only_second
    # A resample of videos is a multinomial draw of the three outcomes that a video can have.
    shares = np.array([only_first, only_second, num_videos - discordant]) / num_videos
    draws = np.random.default_rng(seed).multinomial(num_videos, shares, size=NUM_RESAMPLES)
    gains = (draws[:, 0] - draws[:, 1]) / num_videos
    return PairedComparison(
        only_first=only_first,
        only_second=only_second,
        gain=(only_first - only_second) / num_videos,
        gain_interval=middle_interval(gains),
        p_value=float(binomtest(only_first, discordant).pvalue) if discordant else 1.0,
    )


def accuracy_against_chance(
    answers: Sequence | np.ndarray,
    labels: Sequence | np.ndarray,
    groups: Sequence | np.ndarray,
    seed: int,
) -> Chance:
    """Test right answers against the same answers given to videos at random.

    Recordings change places as wholes, and videos within theirs: answers that follow a recording,
    not its class, are right as often then. The level is at least the share of the most frequent
    class, which an answer that is always the same reaches.
    """
    given, shown = np.array(answers), np.array(labels)
    _, group_of = np.unique(groups, return_inverse=True)
    in_groups = np.argsort(group_of, kind="stable")
    given, shown, group_of = given[in_groups], shown[in_groups], group_of[in_groups]
    random = np.random.default_rng(seed)
    guesses = np.empty(_NUM_DEALS)
    for index in range(len(guesses)):
        places = random.random(group_of[-1] + 1)[group_of]
        dealt = shown[np.lexsort((random.random(len(shown)), places))]
        guesses[index] = (given == dealt).mean()
    figure = (given == shown).mean()
    most_frequent = np.unique(shown, return_counts=True)[1].max() / len(shown)
    reached = int((guesses >= figure - _ROUNDING).sum())
    return Chance(max(float(guesses.mean()), most_frequent), (1 + reached) / (1 + len(guesses)))


def map_interval(
    scores: Float[np.ndarray, "videos classes"],
    labels: Bool[np.ndarray, "videos classes"],
    seed: int,
) -> Interval:
    """Return the interval of a bootstrap over the videos that have a label."""
    return middle_interval(_resample_map([scores], labels, seed)[0])


def compare_map(
    first: Float[np.ndarray, "videos classes"],
    second: Float[np.ndarray, "videos classes"],
    labels: Bool[np.ndarray, "videos classes"],
    seed: int,
) -> Gain:
    """Compare two classifiers by their mAP, on resamples of videos that are the same for both."""
    gain = mean_average_precision(first, labels) - mean_average_precision(second, labels)
    of_first, of_second = _resample_map([first, second], labels, seed)
    return Gain(gain, middle_interval(of_first - of_second))


def map_against_chance(
    scores: Float[np.ndarray, "videos classes"],
    labels: Bool[np.ndarray, "videos classes"],
    seed: int,
) -> Chance:
    """Test mAP against that of the same scores dealt out to the videos at random."""
    scores, labels = drop_unlabelled(scores, labels)
    ranking = rank(scores, labels)
    weights = np.ones(len(scores))
    random = np.random.default_rng(seed)
    guesses = np.empty(_NUM_MAP_RESAMPLES)
    for index in range(len(guesses)):
        dealt = labels[random.permutation(len(labels))]
        positive = np.take_along_axis(dealt.T, ranking.order, axis=1)
        guess = replace(ranking, positive=positive)
        guesses[index] = np.nanmean(guess.average_precisions(weights))
    # The order that was found is one of those that chance can give.
    reached = guesses >= mean_average_precision(scores, labels) - _ROUNDING
    return Chance(float(guesses.mean()), (1 + int(reached.sum())) / (1 + len(guesses)))


def _resample_map(
    classifiers: Sequence[Float[np.ndarray, "videos classes"]],
    labels: Bool[np.ndarray, "videos classes"],
    seed: int,
) -> Float[np.ndarray, "classifiers resamples"]:
    """Return the mAP of each classifier on the same resamples of the labelled videos.

    A class that no video of a resample shows has no part in its mean.
    """
    rankings = [rank(*drop_unlabelled(scores, labels)) for scores in classifiers]
    num_videos = int(labels.any(axis=1).sum())
    shares = np.full(num_videos, 1 / num_videos)
    draws = np.random.default_rng(seed).multinomial(num_videos, shares, size=_NUM_MAP_RESAMPLES)
    found = [
        [np.nanmean(ranking.average_precisions(weights)) for weights in draws.astype(float)]
        for ranking in rankings
    ]
    return np.array(found)


def middle_interval(draws: Float[np.ndarray, " resamples"]) -> Interval:
    """Return what covers the middle `CONFIDENCE` of the draws."""
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(high))
