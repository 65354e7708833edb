"""Measure videos by decoding every frame, in processes that can be killed.

A decoder may hang or crash on a damaged file. It does so here once, under a deadline, and never
in training.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from stpa.data.decode import decode_video, open_video, read_frames
from stpa.data.killable import call_killable
from stpa.errors import DataError
from stpa.files import digest_file

if TYPE_CHECKING:
    from av import VideoFrame

MIN_FRAMES = 2
"""One optical-flow field needs two frames."""
MIN_DECODED_SHARE = 0.9
"""A video that gives fewer of the frames its header promises was cut off: its label may lie.
Some sound files promise a frame or two too many (XviD's packed frames)."""


class Probe(BaseModel):
    """What one video truly holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_frames: int = Field(ge=MIN_FRAMES)
    fps: float = Field(ge=0, allow_inf_nan=False)
    """Zero where the container does not say."""
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    sha256: str


def probe_videos(
    paths: Sequence[Path], deadline_seconds: float, num_processes: int
) -> Iterator[tuple[Path, Probe | str]]:
    """Yield, as each is done, a path and its measures, or the reason why it cannot be used."""
    calls = {path: (path,) for path in paths}
    return call_killable(probe, calls, deadline_seconds, num_processes)


def probe(path: Path) -> Probe | str:
    """Decode a whole video in this process; return its measures or what is wrong with it."""
    try:
        return _measure(path)
    except (DataError, OSError) as error:
        return reason_of(error, path)


def reason_of(error: DataError | OSError, path: Path) -> str:
    """Say what is wrong with the video at `path`, without naming it."""
    if isinstance(error, DataError):
        return str(error).removeprefix(f"{path} ")
    return os.strerror(error.errno) if error.errno else "cannot be read"


def check_whole(sizes: Sequence[tuple[int, int]], promised: int) -> None:
    """Raise DataError for a video whose frames are of these sizes, if it is not to be used.

    `promised` frames are what its header says; 0 where it does not.
    """
    num_frames = len(sizes)
    if num_frames < max(MIN_FRAMES, MIN_DECODED_SHARE * promised):
        expected = f" of {promised}" if promised else ""
        raise DataError(f"only {num_frames}{expected} frames decode")
    if len(set(sizes)) > 1:
        raise DataError("changes its frame size midway")


def upright_size(frame: "VideoFrame") -> tuple[int, int]:
    """Return the width and height of a frame once it is turned upright."""
    sideways = frame.rotation % 180 == 90
    return (frame.height, frame.width) if sideways else (frame.width, frame.height)


def _measure(path: Path) -> Probe:
    if path.stat().st_size == 0:
        raise DataError("is empty")
    with open_video(path) as container:
        stream = container.streams.video[0]
        promised, fps = stream.frames, float(stream.guessed_rate or 0)
    sizes = [upright_size(frame) for frame in decode_video(path)]
    check_whole(sizes, promised)
    num_frames = len(sizes)
    # The reader of training gets its chance to hang here.
    read_frames(path, [0, num_frames - 1])
    width, height = sizes[0]
    return Probe(
        num_frames=num_frames, fps=fps, width=width, height=height, sha256=digest_file(path)
    )
