"""Which frames of a video make a clip: the segment sampling of TSN (Wang et al., ECCV 2016).

A video of `num_frames` is cut into `num_segments` equal parts, and one position taken from
each. At a position, a clip takes `span` frames in a row: 1 for RGB, `STACK_LENGTH` for flow.
"""

import numpy as np

from stpa.shapes import Int

STACK_LENGTH = 5
"""Optical-flow frames in a stack; each gives an x and a y channel."""


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
    tick = num_starts / num_segments
    return (tick / 2 + tick * np.arange(num_segments)).astype(np.int64)
