"""Measure videos by decoding every frame, in processes that can be killed.

A decoder may hang or crash on a damaged file. It does so here once, under a deadline, and never
in training.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from stpa.config import DecodeConfig
from stpa.data.deadline import on_progress
from stpa.data.decode import read_frames
from stpa.data.killable import call_killable
from stpa.data.picture import RgbConverter, odd_matrix
from stpa.data.video_file import MIN_DECODED_SHARE, Tally, decode_video, open_video
from stpa.errors import DataError
from stpa.files import digest_file

if TYPE_CHECKING:
    from av import VideoFrame

MIN_FRAMES = 2
"""One optical-flow field needs two frames."""


class Oddities(BaseModel):
    """What is odd about a video that can be used nevertheless."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_lost: int = Field(ge=0, default=0)
    """Frames whose packets are damaged."""
    odd_matrix: str = ""
    """Name of the colour matrix where another stands in for it."""


class Probe(Oddities):
    """What one video truly holds."""

    num_frames: int = Field(ge=MIN_FRAMES)
    fps: float = Field(ge=0, allow_inf_nan=False)
    """Zero where the container does not say."""
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    sha256: str

    @property
    def measures(self) -> dict[str, Any]:
        """Fields of a `stpa.data.manifest.Video` that are measured."""
        return self.model_dump(exclude={"odd_matrix"})

    @property
    def remarks(self) -> list[str]:
        """What is odd about the video, which can be used nevertheless."""
        remarks = []
        if self.num_lost:
            num_all = self.num_frames + self.num_lost
            remarks.append(f"{self.num_frames} of {num_all} frames decode, and are used")
        if self.odd_matrix:
            remarks.append(f"colours are stored as {self.odd_matrix}, and may be shown wrongly")
        return remarks


def probe_videos(
    paths: Sequence[Path], limits: DecodeConfig, num_processes: int
) -> Iterator[tuple[Path, Probe | str]]:
    """Yield, as each is done, a path and its measures, or the reason why it cannot be used."""
    calls = {path: (path, limits) for path in paths}
    return call_killable(probe, calls, limits, num_processes)


def probe(path: Path, limits: DecodeConfig | None = None) -> Probe | str:
    """Decode a whole video in this process; return its measures or what is wrong with it."""
    try:
        return _measure(path, limits)
    except (DataError, OSError) as error:
        return reason_of(error, path)


def reason_of(error: DataError | OSError, path: Path) -> str:
    """Say what is wrong with the video at `path`, without naming it."""
    if isinstance(error, DataError):
        return str(error).removeprefix(f"{path} ")
    return os.strerror(error.errno) if error.errno else "cannot be read"


class Survey:
    """What is found about a video while its frames are decoded once."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.sizes: set[tuple[int, int]] = set()
        """Width and height of the upright frames."""
        self._matrices: set[str] = set()

    def frames(self, path: Path, limits: DecodeConfig | None) -> Iterator["VideoFrame"]:
        """Yield the frames of the video as `decode_video` does."""
        to_rgb = RgbConverter()
        for frame in decode_video(path, self.tally, limits):
            self.sizes.add(to_rgb.size(frame))
            self._matrices.add(odd_matrix(frame))
            yield frame

    def check(self) -> None:
        """Raise DataError if the video is not to be used, now that all frames were decoded."""
        num_frames, num_expected = self.tally.num_frames, self.tally.num_expected
        if num_frames < max(MIN_FRAMES, MIN_DECODED_SHARE * num_expected):
            expected = f" of {num_expected}" if num_expected else ""
            raise DataError(f"only {num_frames}{expected} frames decode")
        if len(self.sizes) > 1:
            raise DataError("changes its frame size midway")

    @property
    def oddities(self) -> Oddities:
        """What is odd about the video."""
        names = sorted(filter(None, self._matrices))
        return Oddities(num_lost=self.tally.num_lost, odd_matrix=", ".join(names))


def _measure(path: Path, limits: DecodeConfig | None) -> Probe:
    if path.stat().st_size == 0:
        raise DataError("is empty")
    with open_video(path) as video:
        fps = float(video.stream.guessed_rate or 0)
    survey = Survey()
    for _ in survey.frames(path, limits):
        pass
    survey.check()
    num_frames = survey.tally.num_frames
    # The reader of training gets its chance to hang here.
    read_frames(
        path, [0, num_frames - 1], num_frames=num_frames, prepare=lambda image: image[:1, :1].copy()
    )
    [(width, height)] = survey.sizes
    return Probe(
        num_frames=num_frames,
        fps=fps,
        width=width,
        height=height,
        sha256=digest_file(path, on_block=on_progress),
        **survey.oddities.model_dump(),
    )
