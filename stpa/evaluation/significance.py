"""How sure an accuracy, or the difference of two on the same videos, is."""

from dataclasses import dataclass

import numpy as np

from stpa.shapes import Bool

CONFIDENCE = 0.95
_NUM_RESAMPLES = 10_000


@dataclass(frozen=True)
class Interval:
    """Covers the true value in `CONFIDENCE` of all samples."""

    low: float
    high: float


@dataclass(frozen=True)
class PairedComparison:
    """One classifier against another on the same videos."""

    only_first: int
    """Videos that the first alone classifies rightly."""
    only_second: int
    gain: float
    """Top-1 of the first less that of the second."""
    gain_interval: Interval
    """From a paired bootstrap over videos."""
    p_value: float
    """Of McNemar's exact test, two-sided: how often chance alone parts two equals this far."""


def wilson_interval(correct: Bool[np.ndarray, " videos"]) -> Interval:
    """Return Wilson's interval of one accuracy: sound near 0 and 1 and for few videos."""
    from scipy.stats import binomtest  # slow to import

    test = binomtest(int(correct.sum()), len(correct))
    interval = test.proportion_ci(confidence_level=CONFIDENCE, method="wilson")
    return Interval(float(interval.low), float(interval.high))


def compare_paired(
    first: Bool[np.ndarray, " videos"], second: Bool[np.ndarray, " videos"], seed: int
) -> PairedComparison:
    """Compare two classifiers by which videos each got right; equal seeds give equal intervals."""
    from scipy.stats import binomtest  # slow to import

    num_videos = len(first)
    only_first = int((first & ~second).sum())
    only_second = int((second & ~first).sum())
    discordant = only_first + only_second
    # A resample of videos is a multinomial draw of the three outcomes that a video can have.
    shares = np.array([only_first, only_second, num_videos - discordant]) / num_videos
    draws = np.random.default_rng(seed).multinomial(num_videos, shares, size=_NUM_RESAMPLES)
    gains = (draws[:, 0] - draws[:, 1]) / num_videos
    low, high = np.quantile(gains, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return PairedComparison(
        only_first=only_first,
        only_second=only_second,
        gain=(only_first - only_second) / num_videos,
        gain_interval=Interval(float(low), float(high)),
        p_value=float(binomtest(only_first, discordant).pvalue) if discordant else 1.0,
    )
