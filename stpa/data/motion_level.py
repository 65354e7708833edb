"""How strong the motion in a dataset is: networks expect inputs of a known size."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from stpa.data.clips import ClipReader, stored_frames
from stpa.data.manifest import Video
from stpa.data.sampling import test_positions

MAX_VIDEOS = 64
STACKS_PER_VIDEO = 4


def motion_deviation(videos: Sequence[Video], reader: ClipReader) -> float:
    """Return the root mean square of a motion stream's levels about no motion, over some videos.

    In levels of 255, at least 1, so that videos in which nothing moves divide nothing by 0. The
    videos are evenly spaced in the list, so equal lists give equal numbers.
    """
    chosen = np.linspace(0, len(videos) - 1, min(MAX_VIDEOS, len(videos))).round().astype(int)
    squares = [_mean_square(videos[index], reader) for index in chosen]
    return max(1.0, float(np.mean(squares)) ** 0.5)


def _mean_square(video: Video, reader: ClipReader) -> Any:
    num_frames, span = stored_frames(video, reader.stream)
    clip = reader.read(video, test_positions(num_frames, STACKS_PER_VIDEO, span))
    assert reader.stream.rest_level is not None, "a motion stream"
    return np.square(clip.astype(np.float64) - reader.stream.rest_level).mean()
