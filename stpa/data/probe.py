"""Measure videos by decoding every frame, in processes that can be killed.

A decoder may hang or crash on a damaged file. It does so here once, under a deadline, and never
in training.
"""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from pebble import ProcessExpired, ProcessPool
from pydantic import BaseModel, ConfigDict, Field

from stpa.data.decode import decode_video, open_video, read_frames
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
    if not paths:
        return
    # spawn: a fork of a process with threads can inherit a lock that nobody will release.
    pool = ProcessPool(min(num_processes, len(paths)), context=get_context("spawn"))
    try:
        futures: dict[Future[Probe | str], Path] = {
            pool.schedule(_call_in_time, (probe, path, deadline_seconds)): path for path in paths
        }
        for future in as_completed(futures):
            try:
                found = future.result()
            except ProcessExpired as error:
                found = "crashes its decoder"
                if error.exitcode == -signal.SIGALRM:
                    found = f"takes over {deadline_seconds:g} s to decode"
            except MemoryError:
                found = "takes more memory than there is"
            yield futures[future], found
    finally:
        pool.stop()
        pool.join()


def _call_in_time(
    function: Callable[[Path], Probe | str], path: Path, deadline_seconds: float
) -> Probe | str:
    """Call `function`, or die: the alarm ends a decoder that hangs in C, and orphans too."""
    signal.setitimer(signal.ITIMER_REAL, deadline_seconds)
    try:
        return function(path)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def probe(path: Path) -> Probe | str:
    """Decode a whole video in this process; return its measures or what is wrong with it."""
    try:
        return _measure(path)
    except DataError as error:
        return str(error).removeprefix(f"{path} ")
    except OSError as error:
        return os.strerror(error.errno) if error.errno else "cannot be read"


def _measure(path: Path) -> Probe:
    if path.stat().st_size == 0:
        raise DataError("is empty")
    with open_video(path) as container:
        stream = container.streams.video[0]
        promised, fps = stream.frames, float(stream.guessed_rate or 0)
    sizes = [_upright_size(frame) for frame in decode_video(path)]
    num_frames = len(sizes)
    if num_frames < max(MIN_FRAMES, MIN_DECODED_SHARE * promised):
        expected = f" of {promised}" if promised else ""
        raise DataError(f"only {num_frames}{expected} frames decode")
    if len(set(sizes)) > 1:
        raise DataError("changes its frame size midway")
    # The reader of training gets its chance to hang here.
    read_frames(path, [0, num_frames - 1])
    width, height = sizes[0]
    return Probe(
        num_frames=num_frames, fps=fps, width=width, height=height, sha256=digest_file(path)
    )


def _upright_size(frame: "VideoFrame") -> tuple[int, int]:
    sideways = frame.rotation % 180 == 90
    return (frame.height, frame.width) if sideways else (frame.width, frame.height)
