"""The optical flow of one video file, stored; made once for the same file and settings."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import version
from inspect import signature
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stpa.data.deadline import decoding_each
from stpa.data.picture import RgbConverter
from stpa.data.video_file import decode_video
from stpa.errors import DataError
from stpa.optical_flow.codec import quantise, read_provenance, write_flow_video
from stpa.optical_flow.estimators import ESTIMATORS, Frames
from stpa.shapes import UInt8
from stpa.weights import weights_digest

PAIRS_AT_ONCE = 32
"""That an estimator is given: enough to fill a GPU at 340 x 256, few enough to hold in memory."""


def extract_video(
    video: Path,
    output: Path,
    *,
    estimator: str,
    options: Mapping[str, Any],
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
    made_by = provenance(estimator, options, bound_px, width, height, num_frames, source_sha256)
    if read_provenance(output) == made_by:
        return
    estimate = ESTIMATORS[estimator].make(**options)
    runs = _runs(_resized_frames(video, num_frames, width, height))
    levels = (level for run in runs for level in quantise(estimate(run), bound_px))
    try:
        write_flow_video(output, levels, width=width, height=height, provenance=made_by)
    except OSError as error:
        raise DataError(
            f"{output} cannot be written ({error.strerror}): mend that and run again"
        ) from error


def choose_estimator(folder: Path) -> str:
    """Choose "tvl1", TSN's, where this process finds a GPU, else "dis".

    (On a core, TV-L1 takes half a second a pair.) Once one of them has made the flow stored below
    `folder`, that one stays.
    """
    import torch

    stored = (read_provenance(path) for path in folder.rglob("*.avi"))
    made_by = next((each["estimator"] for each in stored if each), None)
    if made_by in ("tvl1", "dis"):
        return made_by
    return "tvl1" if torch.cuda.is_available() else "dis"


def provenance(
    estimator: str,
    options: Mapping[str, Any],
    bound_px: float,
    width: int,
    height: int,
    num_frames: int,
    source_sha256: str,
) -> dict[str, Any]:
    """Name all that decides a stored flow, the libraries that compute and code it included."""
    import av

    method = ESTIMATORS[estimator]
    effective = signature(method.make).bind(**options)
    effective.apply_defaults()
    weights = options.get("weights")
    return {
        "estimator": estimator,
        "version": method.version,
        # Weights are what they hold, wherever they lie.
        "options": effective.arguments | ({"weights": _digest(weights)} if weights else {}),
        "bound_px": float(bound_px),
        "width": width,
        "height": height,
        "num_frames": num_frames,
        "source_sha256": source_sha256,
        "opencv": cv2.__version__,
        "av": av.__version__,
        **{package: version(package) for package in method.packages},
    }


@cache
def _digest(weights: str) -> str:
    """Read a weights file once for all videos of a process."""
    return weights_digest(weights)


def _runs(frames: Iterable[UInt8[np.ndarray, "height width 3"]]) -> Iterator[Frames]:
    """Cut frames into runs of `PAIRS_AT_ONCE` pairs; each begins with the last frame before it."""
    remaining = iter(frames)
    run = list(islice(remaining, 1))
    while following := list(islice(remaining, PAIRS_AT_ONCE)):
        run = [run[-1], *following]
        yield np.stack(run)


def _resized_frames(
    video: Path, num_frames: int, width: int, height: int
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    num_read = 0
    to_rgb = RgbConverter()
    for frame in decoding_each(islice(decode_video(video), num_frames)):
        num_read += 1
        picture = to_rgb(frame)
        shrinks = picture.shape[0] > height
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        yield np.asarray(cv2.resize(picture, (width, height), interpolation=method))
    if num_read < num_frames:
        raise DataError(
            f"{video} has {num_read} frames where {num_frames} were ingested: ingest it again"
        )
