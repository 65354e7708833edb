"""Which frames of a video make a clip: the segment sampling of TSN (Wang et al., ECCV 2016).

A video of `num_frames` is cut into `num_segments` equal parts, and one position taken from
each. At a position, a clip takes `span` frames in a row, as its stream says.

One departure: test positions are computed in integers. Where a segment's middle is a whole number,
TSN's floating point sometimes takes the frame before it; exact ones coincide more often between
values of K, and a sweep looks at each distinct frame once.
"""

from collections.abc import Callable, Sequence

import numpy as np

from stpa.shapes import Int

Grid = dict[int, Int[np.ndarray, " segments"]]
"""Positions by K."""


def train_positions(
    num_frames: int, num_segments: int, span: int, rng: np.random.Generator
) -> Int[np.ndarray, " segments"]:
    """Draw one ascending position a segment; all zero where the video is shorter than a span."""
    num_starts = num_frames - span + 1
    if num_starts < 1:
        return np.zeros(num_segments, dtype=np.int64)
    segment_length = num_starts // num_segments
    if segment_length == 0:
        return np.sort(rng.integers(num_starts, size=num_segments))
    starts = np.arange(num_segments) * segment_length
    return starts + rng.integers(segment_length, size=num_segments)


def test_positions(num_frames: int, num_segments: int, span: int) -> Int[np.ndarray, " segments"]:
    """Return the middle of each segment; positions repeat in a video with fewer starts."""
    num_starts = max(num_frames - span + 1, 0)
    return (2 * np.arange(num_segments) + 1) * num_starts // (2 * num_segments)


def exact_grid(num_frames: int, sweep: Sequence[int], span: int) -> Grid:
    """Return each K's own test positions, as in as many separate evaluations."""
    return {k: test_positions(num_frames, k, span) for k in sweep}


def nested_grid(num_frames: int, sweep: Sequence[int], span: int) -> Grid:
    """Return for the largest K its test positions, and for each other an even choice of these.

    A whole sweep then looks at no more frames than its largest K alone. Positions of a smaller K
    are off its own by up to half a segment of the largest.
    """
    largest = test_positions(num_frames, max(sweep), span)
    return {k: largest[test_positions(len(largest), k, span=1)] for k in sweep}


GRIDS: dict[str, Callable[[int, Sequence[int], int], Grid]] = {
    "exact": exact_grid,
    "nested": nested_grid,
}
"""Where a K-sweep looks: from a video's frames, the values of K and the span to positions."""
