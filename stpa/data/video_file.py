"""Open video files, and decode the frames that they have: the only module that opens them.

Which frames a video has is decided here, for the probe, RGB, optical flow and transcoding alike.
They are those that players show:

- The stream is the first one that moves: cover art is stored as a video stream too.
- Frames that an edit list hides are left out; FFmpeg marks their packets.
- A packet without content gives no frame. AVI has them where a picture stays.
- A packet that does not decode is passed over and counted.
- The first frames of a cut may need others that were cut off. They are left out; no damage.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

import numpy as np

from stpa.data.deadline import on_progress
from stpa.errors import DataError

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

    from stpa.config import DecodeConfig

_FORMATS = (
    *("apng", "asf", "avi", "dv", "flv", "gif", "ivf", "matroska", "mov", "mpeg", "mpegts"),
    *("mpegvideo", "mxf", "nut", "ogg", "rm", "wtv", "yuv4mpegpipe"),
)
"""Containers that hold their own video. Others, such as playlists, can name files elsewhere."""
_RAW_FORMATS = {
    ".264": "h264",
    ".265": "hevc",
    ".h264": "h264",
    ".h265": "hevc",
    ".hevc": "hevc",
    ".mjpeg": "mjpeg",
    ".mjpg": "mjpeg",
}
"""Streams without a container, by suffix: damaged files of other kinds can look like one."""
_BROADCAST_FORMATS = frozenset({"mpeg", "mpegts", "mpegvideo", "ogg", *_RAW_FORMATS.values()})
"""Formats of which a recording may begin at any packet."""


VIDEO_SUFFIXES = (
    *(".3g2", ".3gp", ".apng", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".insv"),
    *(".ivf", ".lrv", ".m1v", ".m2t", ".m2ts", ".m2v", ".m4v", ".mkv", ".mod", ".mov", ".mp4"),
    *(".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogv", ".qt", ".rm", ".rmvb", ".tod"),
    *(".ts", ".vob", ".webm", ".wmv", ".wtv", ".y4m"),
    *_RAW_FORMATS,
)
"""File names that are taken for videos, in any case of letters."""

LARGEST_EMPTY_PACKET = {"h264": 0, "mpeg4": 19}
"""Bytes, by codec: packets up to this size may give no frame (FFmpeg's MAX_NVOP_SIZE), as in
XviD's packed streams. A codec that is not here may hide frames in packets or need any of them."""

MIN_DECODED_SHARE = 0.9
"""A video that gives fewer of its frames was cut off or damaged: its label may lie. Some sound
files promise a frame or two too many (XviD's packed frames)."""

_PICTURE_CODECS = frozenset({"bmp", "mjpeg", "png", "webp"})
"""Of cover art; of videos too, where a file has no other stream."""

Item = TypeVar("Item")


class OpenVideo(NamedTuple):
    """An open file and the stream of it that is the video."""

    container: "InputContainer"
    stream: "VideoStream"


@contextmanager
def open_video(path: Path) -> Iterator[OpenVideo]:
    """Open a video for single-threaded decoding; an error of the file becomes a DataError."""
    import av
    from av.error import FFmpegError

    raw = _RAW_FORMATS.get(path.suffix.lower())
    formats = ",".join([*_FORMATS, *([raw] if raw else [])])
    try:
        # Titles and the like may hold any bytes; nothing here reads them.
        with av.open(
            str(path), options={"format_whitelist": formats}, metadata_errors="replace"
        ) as container:
            stream = _find_stream(container)
            if stream is None:
                raise DataError(f"{path} has no video stream that decodes: ingest the videos again")
            stream.thread_count = 1
            yield OpenVideo(container, stream)
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: ingest the videos, or extract the flow") from error
    except MemoryError:  # one of FFmpeg's errors too
        raise
    except FFmpegError as error:
        raise DataError(f"{path} does not decode ({error.strerror})") from error


@dataclass
class Tally:
    """What became of a video's packets, complete once all frames have been decoded."""

    num_promised: int = 0
    """Frames to be shown by the container's index or header; 0 where neither tells."""
    is_exact: bool = False
    """Whether the promise is kept by all sound files, to the frame."""
    starts_anywhere: bool = False
    """Whether the container is one for broadcasts: the first packets may lack a key frame."""
    num_frames: int = 0
    """Frames that decode."""
    num_failed: int = 0
    """Packets that do not."""
    num_cut: int = 0
    """Frames at the start that need others which were cut off."""
    _first_pts: int | None = None
    _waiting: list[tuple[int | None, bool]] = field(default_factory=list)
    """Timestamp of each packet up to the first frame that comes, and whether it failed."""

    @property
    def num_expected(self) -> int:
        """Frames that a player would show if nothing were damaged or missing."""
        return max(self.num_promised - self.num_cut, self.num_frames + self.num_failed)

    @property
    def num_lost(self) -> int:
        """Frames that a player would show if nothing were damaged, and that do not decode."""
        is_damaged = self.num_failed or self.is_exact
        return self.num_expected - self.num_frames if is_damaged else 0

    def add(self, packet: "Packet", frames: "list[VideoFrame] | None") -> None:
        """Count a packet that a frame is expected of, and what comes of it; None if it fails."""
        failed = frames is None
        if not self.num_frames:
            self._waiting.append((packet.pts, failed))
        elif _is_before(packet.pts, self._first_pts):
            self.num_cut += 1
        else:
            self.num_failed += failed
        self.add_frames(frames or [])

    def add_frames(self, frames: "list[VideoFrame]") -> None:
        """Count frames that come, of whatever packet."""
        if frames and not self.num_frames:
            self._count_start(frames[0].pts)
        self.num_frames += len(frames)

    def _count_start(self, first_pts: int | None) -> None:
        """Count the packets that came up to the first frame, now that its timestamp is known."""
        self._first_pts = first_pts
        stamps = [pts for pts, _ in self._waiting]
        place = stamps.index(first_pts) if first_pts in stamps else 0
        for number, (pts, failed) in enumerate(self._waiting):
            if not _is_before(pts, first_pts):
                self.num_failed += failed
            # Packets after the first frame's that are shown before it lean on a group that was
            # cut off. Those before it lack a key frame, which in most containers was damaged.
            elif number > place or self.starts_anywhere:
                self.num_cut += 1
            else:
                self.num_failed += 1
        self._waiting.clear()


def decode_video(
    path: Path, tally: Tally | None = None, limits: "DecodeConfig | None" = None
) -> Iterator["VideoFrame"]:
    """Yield the frames of a video, in order, as they are stored; see `stpa.data.picture`.

    `tally` counts what was found meanwhile. Raises DataError, for a video beyond `limits` too.
    """
    tally = tally or Tally()
    with open_video(path) as video:
        # First: the index of a header that promises millions takes gigabytes to list.
        stream = video.stream
        _check_limits(limits, stream.frames, stream.width * stream.height)
        tally.num_promised = _num_promised(video)
        tally.is_exact = "mov" in video.container.format.name
        tally.starts_anywhere = video.container.format.name in _BROADCAST_FORMATS
        with closing(_decode_packets(video, tally)) as frames:
            for frame in frames:
                on_progress()
                _check_limits(limits, tally.num_frames, frame.width * frame.height)
                yield frame


def _decode_packets(video: OpenVideo, tally: Tally) -> Iterator["VideoFrame"]:
    """Yield what all packets give, and count it; raise the first error where that is nothing."""
    from av.error import FFmpegError

    container, stream = video
    first_error: FFmpegError | None = None
    largest_empty = _largest_empty(stream)
    with closing(container.demux(stream)) as packets:
        for packet in packets:
            if not packet.size:  # would be taken for the end
                continue
            frames: list[VideoFrame] | None = None
            try:
                frames = packet.decode()
            except MemoryError:  # one of FFmpeg's errors too
                raise
            except FFmpegError as error:
                # Where memory is short, decoders call the packet damaged. Then this fails too.
                np.empty(2 * stream.width * stream.height, np.uint8)
                first_error = first_error or error
            if packet.is_discard or packet.size <= largest_empty:
                tally.add_frames(frames or [])
            else:
                tally.add(packet, frames)
            yield from frames or []
        remaining = stream.decode(None)
    tally.add_frames(remaining)
    yield from remaining
    if first_error and not tally.num_frames:
        raise first_error


@contextmanager
def closing(items: Iterator[Item]) -> Iterator[Iterator[Item]]:
    """Close one of PyAV's generators, which loses memory where it is dropped unfinished."""
    try:
        yield items
    finally:
        cast("Generator[Item]", items).close()


def _check_limits(limits: "DecodeConfig | None", num_frames: int, num_pixels: int) -> None:
    if limits and limits.max_frames and num_frames > limits.max_frames:
        raise DataError(f"has over {limits.max_frames} frames (data.max_frames): cut it")
    if limits and limits.max_megapixels and num_pixels > 1e6 * limits.max_megapixels:
        raise DataError(
            f"has frames of {num_pixels / 1e6:.1f} million pixels, over "
            f"{limits.max_megapixels:g} (data.max_megapixels): make them smaller"
        )


def _find_stream(container: "InputContainer") -> "VideoStream | None":
    from av.stream import Disposition

    no_video = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = [
        each
        for each in container.streams.video
        # None: FFmpeg has no decoder for it.
        if each.codec_context is not None and not each.disposition & no_video
    ]
    # A cover that nothing marks as one is a stream of a single picture, or of a picture's codec.
    return min(
        streams,
        key=lambda each: each.frames == 1 or each.codec_context.name in _PICTURE_CODECS,
        default=None,
    )


def _num_promised(video: OpenVideo) -> int:
    """Return how many frames the file says that it shows; 0 where it does not."""
    container, stream = video
    entries = list(stream.index_entries) if stream.frames else []
    # AVI's index comes last: of a file that was cut off, there is only what was read of it yet.
    is_whole = entries and (
        "mov" in container.format.name
        or entries[-1].timestamp + 1 >= MIN_DECODED_SHARE * stream.frames
    )
    if not is_whole:
        return stream.frames
    # The header also counts frames that an edit list hides, and AVI's those that are not there.
    largest_empty = _largest_empty(stream)
    return sum(not entry.is_discard and entry.size > largest_empty for entry in entries)


def _largest_empty(stream: "VideoStream") -> int:
    return LARGEST_EMPTY_PACKET.get(stream.codec_context.name, 0)


def _is_before(pts: int | None, first: int | None) -> bool:
    return pts is not None and first is not None and pts < first
