"""What a network answers without the cells that a map prefers, or with these alone.

Petsiuk et al., RISE: Randomized Input Sampling for Explanation of Black-box Models, BMVC 2018
(https://github.com/eclique/RISE), over all frames of a clip at once. Clips that are blurred in part
are unlike any that the network was trained on: read both metrics next to those of a random order.
"""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from stpa.shapes import Bool, Float, Int, UInt8
from stpa.streams import Stream

NUM_STEPS = 11
"""Points of a curve, from no cell to all."""
BLUR = 1 / 12
"""Standard deviation of the blur, as a share of the side."""

Clip = UInt8[np.ndarray, "time channels side side"]
Probability = Callable[[Clip], float]
"""From a clip to the probability of the class in question."""


class PerturbationMetrics(NamedTuple):
    """Mean probabilities, as areas under curves over the share of cells."""

    deletion: float
    """As cells are replaced, those that weigh most first; a good map makes it low."""
    insertion: float
    """As they are put into a clip that is replaced; a good map makes it high."""


def perturb(
    clip: Clip,
    maps: Float[np.ndarray, "time height width"],
    probability: Probability,
    *,
    stream: Stream,
    rng: np.random.Generator,
) -> PerturbationMetrics:
    """Delete and insert the cells of all frames in the order of `maps`; cells of equal weight come
    in a random order, so that an even map gives that.
    """
    blurred = blur(clip, stream)
    rank = _ranks(maps, rng)
    counts = np.unique(np.rint(np.linspace(0, rank.size, NUM_STEPS)).astype(int))
    deleted = [probability(_blend(clip, blurred, rank < count)) for count in counts]
    inserted = [probability(_blend(blurred, clip, rank < count)) for count in counts]
    shares = counts / rank.size
    return PerturbationMetrics(_area(deleted, shares), _area(inserted, shares))


def blur(clip: Clip, stream: Stream) -> Clip:
    """Return what cells are replaced by: blurred frames, or motion channels where nothing moves."""
    if stream.rest_level is not None:
        return np.full_like(clip, int(stream.rest_level))
    deviation = BLUR * clip.shape[-1]
    planes = clip.reshape(-1, *clip.shape[2:])
    blurred = [cv2.GaussianBlur(plane, (0, 0), deviation) for plane in planes]
    return np.stack(blurred).reshape(clip.shape)


def _ranks(
    maps: Float[np.ndarray, "time height width"], rng: np.random.Generator
) -> Int[np.ndarray, "time height width"]:
    """Return the place of each cell by falling weight, from 0."""
    order = np.lexsort((rng.random(maps.size), -maps.ravel()))
    rank = np.empty(maps.size, int)
    rank[order] = np.arange(maps.size)
    return rank.reshape(maps.shape)


def _blend(clip: Clip, other: Clip, cells: Bool[np.ndarray, "time height width"]) -> Clip:
    """Take the pixels of some cells from another clip; a pixel belongs to its centre's cell."""
    rows, columns = (
        ((np.arange(side) + 0.5) * size / side).astype(int)
        for side, size in zip(clip.shape[2:], cells.shape[1:], strict=True)
    )
    pixels = cells[:, rows][:, :, columns]
    return np.where(pixels[:, None], other, clip)


def _area(probabilities: list[float], shares: Float[np.ndarray, " counts"]) -> float:
    """Return the area under a curve by the trapezoidal rule."""
    return float(np.trapezoid(probabilities, shares))
