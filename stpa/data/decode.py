"""Read frames from video files by their place.

A frame is known by its place among those that `stpa.data.video_file` decodes. Timestamps do not
tell it: they are missing or repeat in many AVI and MP4 files, and a reader that seeks by them, as
decord does, then silently returns other frames. Here PyAV reads all, in one of two ways:

- Where the container's own index lists every packet and each packet gives one frame (most MP4 and
  AVI files), from the key frame before each wanted frame, passing over what no other frame needs.
  What comes is checked against the index.
- Else in order from the first frame, which is always right. So are videos that have lost frames:
  the index does not tell whose packets are damaged.

Both decode the same pixels; how fast, and how fast decord and OpenCV are: `benchmarks/decode.py`.
"""

from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, groupby, islice
from operator import lt
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stpa.data.deadline import on_progress
from stpa.data.picture import RgbConverter
from stpa.data.video_file import (
    LARGEST_EMPTY_PACKET,
    OpenVideo,
    closing,
    decode_video,
    open_video,
)
from stpa.errors import DataError
from stpa.shapes import Int, UInt8

if TYPE_CHECKING:
    from av import Packet, VideoCodecContext, VideoFrame
    from av.video.stream import VideoStream

_COUNTED_CODECS = frozenset({"hevc", "libdav1d", "vp9"})
"""Codecs whose packets can hide frames: to be believed, the number of frames must be known."""

MOST_REORDERED = 16
"""Packets by which a frame can come later than it is shown (H.264's largest picture buffer)."""

MOST_PACKETS = 500
"""Packets to hold in memory while one group of pictures is read."""

Positions = Sequence[int] | Int[np.ndarray, " time"]
Image = UInt8[np.ndarray, "height width 3"]


def read_frames(
    path: Path,
    indices: Positions,
    *,
    num_frames: int | None = None,
    prepare: Callable[[Image], Image] | None = None,
) -> UInt8[np.ndarray, "time height width 3"]:
    """Read upright RGB frames by their place, in any order, repeats allowed.

    Indices past the end give the last frame. `num_frames` is how many the video has, where that
    is known: then an index that lists another number is not believed. `prepare` is what is done
    to each as it is read, so that large ones are not held in memory. Raises DataError.
    """
    wanted, order = np.unique(np.asarray(indices), return_inverse=True)
    images = _read_each(path, wanted, num_frames, prepare)
    first = next(images)
    frames = np.empty((len(order), *first.shape), first.dtype)
    for place, image in zip(range(len(wanted)), chain([first], images), strict=True):
        frames[order == place] = image
    return frames


def read_chunks(
    path: Path,
    wanted: Int[np.ndarray, " time"],
    size: int,
    *,
    num_frames: int | None = None,
    prepare: Callable[[Image], Image] | None = None,
) -> Iterator[UInt8[np.ndarray, "_chunk height width 3"]]:
    """Yield what `read_frames` returns, at most `size` at a time, from one pass over the video.

    `wanted` ascends without repeats.
    """
    images = _read_each(path, wanted, num_frames, prepare)
    for start in range(0, len(wanted), size):
        yield np.stack(list(islice(images, min(size, len(wanted) - start))))


def read_flow_stacks(
    path: Path, starts: Positions, stack_length: int
) -> UInt8[np.ndarray, "time channels height width"]:
    """Read stacks of stored optical flow; channels interleave x and y of `stack_length` frames.

    A stored frame holds x above y, and can be read alone: each is a key frame. Indices past the
    end give the last frame. Raises DataError.
    """
    stacks = np.asarray(starts)[:, None] + np.arange(stack_length)
    with open_video(path) as video:
        last = video.stream.frames - 1
        wanted, order = np.unique(np.minimum(stacks, last), return_inverse=True)
        planes = [_luma_plane(frame) for frame in _seek_each(video, wanted)]
        x_above_y = np.stack([planes[place] for place in order.ravel()])
    return x_above_y.reshape(len(stacks), 2 * stack_length, -1, x_above_y.shape[-1])


class _Group(NamedTuple):
    """Wanted frames that one key frame leads to."""

    key: int
    """Place of the key frame."""
    timestamps: tuple[int, int]
    """For decoding the key frame, and the last frame before the next one."""
    num_packets: int
    """Up to the next key frame."""
    places: list[int]
    """Of the wanted frames, counted from the key frame; the last may repeat."""


def _read_each(
    path: Path,
    wanted: Int[np.ndarray, " time"],
    num_frames: int | None,
    prepare: Callable[[Image], Image] | None,
) -> Iterator[Image]:
    """Yield the `wanted` frames, from their key frames as far as that can be trusted."""
    num_read = num_expected = 0
    to_rgb = RgbConverter()
    with open_video(path) as video:
        for group in _find_groups(video.stream, wanted, num_frames):
            num_expected += len(group.places)
            for frame in _read_group(video, group):
                yield prepare(to_rgb(frame)) if prepare else to_rgb(frame)
                num_read += 1
            if num_read < num_expected:
                break
    if num_read < len(wanted):
        images = _scan_frames(path, wanted[num_read:])
        yield from map(prepare, images) if prepare else images


def _find_groups(
    stream: "VideoStream", wanted: Int[np.ndarray, " time"], num_frames: int | None
) -> Iterator[_Group]:
    """Yield where to seek, in order; nothing if the index does not tell each frame's packet."""
    codec = stream.codec_context.name
    largest_empty = LARGEST_EMPTY_PACKET.get(codec)
    if codec in _COUNTED_CODECS and num_frames is not None:
        largest_empty = 0
    if largest_empty is None or num_frames not in (None, stream.frames):
        return
    entries = list(stream.index_entries)
    if not entries or len(entries) != stream.frames:
        return
    # Each clip pays for this, so the loops over all entries are C's.
    discarded = [entry for entry in entries if entry.is_discard]
    if discarded or min([entry.size for entry in entries]) <= largest_empty:
        return
    timestamps = [entry.timestamp for entry in entries]
    if not all(map(lt, timestamps, timestamps[1:])):
        return
    keys = [place for place, entry in enumerate(entries) if entry.is_keyframe]
    if not keys or keys[0] != 0:
        return
    places = np.minimum(wanted, len(entries) - 1).tolist()
    bounds = [*keys, len(entries)]
    for number, members in groupby(places, key=partial(bisect, keys)):
        key, end = bounds[number - 1], bounds[number]
        yield _Group(
            key=key,
            timestamps=(timestamps[key], timestamps[end - 1]),
            num_packets=end - key,
            places=[place - key for place in members],
        )


def _read_group(video: OpenVideo, group: _Group) -> Iterator["VideoFrame"]:
    """Yield a group's wanted frames; stop early where it is not what the index says."""
    container, stream = video
    first, last = group.timestamps
    if group.key:  # by its own timestamp, MP4 is sought to the key frame before
        container.seek(last, stream=stream)
    decode = _decode_reordered if stream.codec_context.has_b_frames else _decode_in_step
    with closing(container.demux(stream)) as packets:
        wanted = islice(packets, group.num_packets)
        yield from decode(stream.codec_context, wanted, group.places, first)


def _decode_in_step(
    codec: "VideoCodecContext", packets: Iterable["Packet"], places: Sequence[int], first: int
) -> Iterator["VideoFrame"]:
    """Yield the frames at `places` from packets that each give theirs at once."""
    for place, packet in enumerate(packets):
        frames = codec.decode(packet)
        on_progress()
        if len(frames) != 1 or frames[0].pts != packet.pts:
            return
        if place == 0 and not (frames[0].key_frame and packet.dts == first):
            return
        if place in places:
            yield from frames * places.count(place)
        if place == places[-1]:
            return


def _decode_reordered(
    codec: "VideoCodecContext", packets: Iterable["Packet"], places: Sequence[int], first: int
) -> Iterator["VideoFrame"]:
    """Yield the frames at `places`, in the order in which they are shown.

    That is the order of their timestamps, once the packets are there of all that may be shown
    before the last of them.
    """
    num_packets = places[-1] + 1 + MOST_REORDERED
    if num_packets > MOST_PACKETS:
        return
    held = list(islice(packets, num_packets))
    stamps = [packet.pts for packet in held if packet.pts is not None]
    shown = sorted(stamps)
    # Frames that are shown before the key frame lean on others before it.
    if len(set(stamps)) < len(held) or held[0].dts != first or shown[0] != stamps[0]:
        return
    if shown == stamps and len(stamps) > 1:  # AVI has no such timestamps: FFmpeg makes them up
        return
    due, is_first = [shown[place] for place in places], True
    num_needed = max(stamps.index(stamp) for stamp in due) + 1
    for packet in (*held[:num_needed], None):
        # No other frame needs those that are not referred to.
        codec.skip_frame = "DEFAULT" if packet is None or packet.pts in due else "NONREF"
        for frame in codec.decode(packet):
            if is_first and not frame.key_frame:
                return
            is_first = False
            on_progress()
            while due and frame.pts == due[0]:
                yield frame
                due.pop(0)


def _scan_frames(path: Path, wanted: Int[np.ndarray, " time"]) -> Iterator[Image]:
    """Decode in order up to the last wanted frame; `wanted` ascends without repeats."""
    frame = None
    num_found = 0
    to_rgb = RgbConverter()
    for index, frame in enumerate(decode_video(path)):
        if index == wanted[num_found]:
            yield to_rgb(frame)
            num_found += 1
            if num_found == len(wanted):
                return
    if frame is None:
        raise DataError(f"{path} has no frame that decodes: ingest the videos again")
    last = to_rgb(frame)
    for _ in wanted[num_found:]:
        yield last


def _seek_each(video: OpenVideo, wanted: Int[np.ndarray, " time"]) -> Iterator["VideoFrame"]:
    """Yield the frames at `wanted` indices of a stored optical flow."""
    container, stream = video
    for _, run in groupby(enumerate(wanted.tolist()), key=lambda pair: pair[1] - pair[0]):
        indices = [index for _, index in run]  # in a row
        container.seek(indices[0], stream=stream)
        with closing(container.decode(stream)) as frames:
            for index in indices:
                frame = next(frames, None)
                if frame is None or frame.pts != index:
                    raise DataError(
                        f"{container.name} lacks frame {index}: delete it and extract again"
                    )
                yield frame


def _luma_plane(frame: "VideoFrame") -> UInt8[np.ndarray, "height width"]:
    """Return the frame's own luma, not copied: a conversion to gray takes four times as long."""
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]
