"""Store videos so that any frame is read fast: small, and with key frames near one another.

A transcoded video is MP4 whatever its name ends in: its name stays the one that a dataset's lists
have, readers tell a container by its content, and MP4's index lists every frame, by which
`stpa.data.decode` seeks. The same original, settings and encoder give the same bytes.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, TypeAdapter

from stpa.config import DecodeConfig, TranscodeConfig
from stpa.data.killable import call_killable
from stpa.data.picture import RgbConverter
from stpa.data.probe import Oddities, Survey, reason_of
from stpa.data.video_file import open_video
from stpa.errors import DataError
from stpa.files import append_record, atomic_path, read_records, write_text

if TYPE_CHECKING:
    from av import VideoFrame

_OPTIONS = {
    "preset": "veryfast",
    "tune": "fastdecode",
    "bf": "0",
    "x264-params": "open-gop=0:threads=1",  # more threads may give other bytes
}
_DEFAULT_RATE = Fraction(25)
_HIGHEST_RATE = 1000


def transcode(
    original: Path, copy: Path, config: TranscodeConfig, limits: DecodeConfig | None = None
) -> Oddities | str:
    """Write `copy` with all frames of `original`, upright; return what is odd or wrong with it.

    Nothing is written of a video that `stpa.data.probe` would refuse.
    """
    from av.error import FFmpegError

    try:
        with open_video(original) as video:
            rate = video.stream.guessed_rate
        if not rate or rate > _HIGHEST_RATE:
            rate = _DEFAULT_RATE
        with atomic_path(copy) as temporary:
            survey = Survey()
            _encode(temporary, survey.frames(original, limits), rate, config)
            survey.check()
    except (DataError, OSError) as error:
        return reason_of(error, original)
    except MemoryError:  # one of FFmpeg's errors too
        raise
    except FFmpegError as error:
        return f"does not encode ({error.strerror})"
    return survey.oddities


def target_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Return the width and height to store: even, and at most `short_side` on the shorter one."""
    scale = min(1.0, short_side / min(width, height))
    return _even(width * scale), _even(height * scale)


def _even(pixels: float) -> int:
    return max(2, round(pixels) // 2 * 2)


def _encode(
    path: Path, frames: Iterable["VideoFrame"], rate: Fraction, config: TranscodeConfig
) -> None:
    """Encode `frames` one by one."""
    import av
    from av.video.stream import VideoStream

    options = {**_OPTIONS, "crf": str(config.quality), "g": str(config.gop)}
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options=options)
        assert isinstance(stream, VideoStream)
        stream.thread_count = 1
        stream.pix_fmt = "yuv420p"
        to_rgb = RgbConverter()
        for place, frame in enumerate(frames):
            if place == 0:
                size = target_size(*to_rgb.size(frame), config.short_side)
                stream.width, stream.height = size
            # By way of RGB, as readers would see it: whatever its range, colours and rotation.
            image = np.ascontiguousarray(to_rgb(frame))
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            resized = picture.reformat(
                stream.width, stream.height, "yuv420p", interpolation="BICUBIC", threads=1
            )
            resized.pts, resized.time_base = place, 1 / rate
            container.mux(stream.encode(resized))
        container.mux(stream.encode())


class _Entry(BaseModel):
    """What one copy was made of. Failures are not kept: see `stpa.data.probe_cache`."""

    path: str
    original: tuple[int, int]
    copied: tuple[int, int]
    """Size and modification time, as of `original`."""
    config: TranscodeConfig
    oddities: Oddities = Oddities()
    """Of the original."""


_RECORD = TypeAdapter(_Entry)


class Transcodes:
    """The transcoded copies below a folder, remembered in a file of records beside it."""

    def __init__(self, root: Path, config: TranscodeConfig | None, limits: DecodeConfig) -> None:
        """Load what is known of the copies below `root`; without `config` none are made."""
        self.config = config
        self._limits = limits
        self._root = root
        self._file = root.with_name("transcodes.jsonl")
        self._entries = {
            self._root / entry.path: entry
            for entry in read_records(self._file, _RECORD.validate_json)
        }

    def check_settings(self) -> None:
        """Raise DataError if the copies that are there were made by other settings."""
        made_by = [entry.config for entry in self._entries.values()]
        if any(config != self.config for config in made_by or [None]):
            raise DataError(
                f"the videos in {self._root} are not what data.transcode says: name the folder "
                "of the originals, as in `stpa ingest FOLDER`"
            )

    def adopt(self, names: Iterable[str]) -> None:
        """Take the videos that came back with a data version for made by `config`.

        Of what is not known: with a source, the next ingest makes them again.
        """
        self._file.unlink(missing_ok=True)
        if self.config is None:
            return
        for name in names:
            entry = _Entry(path=name, original=(0, 0), copied=(0, 0), config=self.config)
            append_record(self._file, entry.model_dump_json())

    def is_current(self, original: Path, copy: Path) -> bool:
        """Tell whether `copy` is what `config` makes of `original`."""
        entry = self._entries.get(copy)
        return (
            entry is not None
            and entry.config == self.config
            and entry.original == _state(original)
            and copy.is_file()
            and entry.copied == _state(copy)
        )

    def oddities_of(self, copy: Path) -> Oddities | None:
        """Return what is odd about the video that `copy` was made of, where it was made here."""
        entry = self._entries.get(copy)
        return entry.oddities if entry else None

    def keep_only(self, names: Iterable[str]) -> None:
        """Forget the copies that are not among `names`, which are relative to the folder."""
        kept = {self._root / name for name in names}
        self._entries = {copy: entry for copy, entry in self._entries.items() if copy in kept}
        lines = [entry.model_dump_json() for entry in self._entries.values()]
        if lines:
            write_text(self._file, "\n".join(lines))
        else:
            self._file.unlink(missing_ok=True)

    def make(self, originals: Mapping[str, Path]) -> Iterator[tuple[str, str | None]]:
        """Transcode `originals`, each to its name, in a process a core that can be killed.

        Yields, as each is done, its name and what is wrong with it, if anything is.
        """
        calls = {
            name: (original, self._root / name, self.config, self._limits)
            for name, original in originals.items()
        }
        states = {name: _state(original) for name, original in originals.items()}
        num_processes = len(os.sched_getaffinity(0))
        for name, found in call_killable(transcode, calls, self._limits, num_processes):
            if isinstance(found, Oddities):
                assert self.config is not None
                entry = _Entry(
                    path=name,
                    original=states[name],
                    copied=_state(self._root / name),
                    config=self.config,
                    oddities=found,
                )
                append_record(self._file, entry.model_dump_json())
            yield name, found if isinstance(found, str) else None


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
