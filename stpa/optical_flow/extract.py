"""The optical flow of one video file, stored; made once for the same file and settings."""

from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stpa.data.decode import decode_video, turn_upright
from stpa.errors import DataError
from stpa.optical_flow.codec import quantise, read_provenance, write_flow_video
from stpa.optical_flow.estimators import ESTIMATORS
from stpa.shapes import UInt8


def extract_video(
    video: Path,
    output: Path,
    *,
    estimator: str,
    bound_px: float,
    width: int,
    height: int,
    num_frames: int,
    source_sha256: str,
) -> None:
    """Store the flow between each two neighbours of a video's first `num_frames` frames.

    N frames give N - 1. Frames are resized to `width` x `height` first, so displacements count
    in pixels of that size. Does nothing where `output` was made so already. Raises DataError.
    """
    made_by = provenance(estimator, bound_px, width, height, num_frames, source_sha256)
    if read_provenance(output) == made_by:
        return
    estimate = ESTIMATORS[estimator]()
    frames = _gray_frames(video, num_frames, width, height)
    levels = (quantise(estimate(*pair), bound_px) for pair in pairwise(frames))
    try:
        write_flow_video(output, levels, width=width, height=height, provenance=made_by)
    except OSError as error:
        raise DataError(
            f"{output} cannot be written ({error.strerror}): mend that and run again"
        ) from error


def provenance(
    estimator: str,
    bound_px: float,
    width: int,
    height: int,
    num_frames: int,
    source_sha256: str,
) -> dict[str, Any]:
    """Name all that decides a stored flow, the libraries that compute and code it included."""
    import av

    return {
        "estimator": estimator,
        "bound_px": float(bound_px),
        "width": width,
        "height": height,
        "num_frames": num_frames,
        "source_sha256": source_sha256,
        "opencv": cv2.__version__,
        "av": av.__version__,
    }


def _gray_frames(
    video: Path, num_frames: int, width: int, height: int
) -> Iterator[UInt8[np.ndarray, "height width"]]:
    num_read = 0
    for frame in islice(decode_video(video), num_frames):
        num_read += 1
        picture = turn_upright(frame.to_ndarray(format="rgb24"), frame.rotation)
        shrinks = picture.shape[0] > height
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        resized = cv2.resize(picture, (width, height), interpolation=method)
        yield cv2.cvtColor(resized, cv2.COLOR_RGB2GRAY)
    if num_read < num_frames:
        raise DataError(
            f"{video} has {num_read} frames where {num_frames} were ingested: ingest it again"
        )
