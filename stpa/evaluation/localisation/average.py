"""Metrics of many videos: their means, and how sure these are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stpa.evaluation.localisation.localise import Measured
from stpa.evaluation.significance import NUM_RESAMPLES, Interval, middle_interval
from stpa.shapes import Float


@dataclass(frozen=True)
class Average:
    """One metric of one kind of map."""

    mean: float
    """Over the actions for which it is defined; NaN if there are none."""
    interval: Interval | None
    """From a bootstrap over recordings; None where fewer than two have a defined value."""
    num_undefined: int
    """Actions that are left out."""


Averages = dict[str, dict[str, Average]]
"""By what made the map, and by metric."""


def average(measured: Sequence[Measured], groups: Sequence[str], seed: int) -> Averages:
    """Average the metrics of actions, which come from the recordings `groups`.

    Whole recordings are drawn, since the videos of one are alike; a mean is the ratio of the sums
    over what is drawn, as recordings have different numbers of videos. All metrics have the same
    draws, and equal seeds give equal intervals.
    """
    names = list(dict.fromkeys(groups))
    places = np.array([names.index(group) for group in groups])
    shares = np.full(len(names), 1 / len(names))
    draws = np.random.default_rng(seed).multinomial(len(names), shares, size=NUM_RESAMPLES)
    return {
        kind: {
            metric: _average(
                np.array([each[kind][metric] for each in measured], np.float64), places, draws
            )
            for metric in measured[0][kind]
        }
        for kind in measured[0]
    }


def _average(
    values: Float[np.ndarray, " actions"], places: np.ndarray, draws: np.ndarray
) -> Average:
    defined = ~np.isnan(values)
    num_undefined = int((~defined).sum())
    if not defined.any():
        return Average(np.nan, None, num_undefined)
    sums, counts = np.zeros(draws.shape[1]), np.zeros(draws.shape[1])
    np.add.at(sums, places[defined], values[defined])
    np.add.at(counts, places[defined], 1)
    mean = float(sums.sum() / counts.sum())
    if np.count_nonzero(counts) < 2:
        return Average(mean, None, num_undefined)
    drawn_counts = draws @ counts
    drawn = drawn_counts > 0  # a draw may have recordings without a defined value alone
    means = (draws[drawn] @ sums) / drawn_counts[drawn]
    return Average(mean, middle_interval(means), num_undefined)
