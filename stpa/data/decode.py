"""Read frames from video files: the only module that opens them for their pictures.

No one decoder wins. decord seeks, and is the faster for a few frames where key frames are near
one another, but it takes frames by their timestamps and silently returns the wrong ones where
those are missing or repeat, as in many AVI files. PyAV decodes in order and is always right. Here
decord reads a few frames of what its own index shows to be sound, PyAV all else; their pixels
differ by rounding at most.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stpa.errors import DataError
from stpa.shapes import Int, UInt8

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer

_FORMATS = "asf,avi,flv,matroska,mov,mpeg,mpegts"
"""Containers that hold their own video. Others, such as playlists, can name files elsewhere."""

MOST_SOUGHT = 0.5
"""Share of the frames up to the last wanted one: where seeking would decode more, all of them
are decoded in order, which costs less by the frame."""

Positions = Sequence[int] | Int[np.ndarray, " time"]


def read_frames(path: Path, indices: Positions) -> UInt8[np.ndarray, "time height width 3"]:
    """Read upright RGB frames by their place in decoding order, in any order, repeats allowed.

    Indices past the end give the last frame. Raises DataError.
    """
    wanted, order = np.unique(np.asarray(indices), return_inverse=True)
    [frames] = read_chunks(path, wanted, size=len(wanted))
    return frames[order]


def read_chunks(
    path: Path, wanted: Int[np.ndarray, " time"], size: int
) -> Iterator[UInt8[np.ndarray, "_chunk height width 3"]]:
    """Yield upright RGB frames, at most `size` at a time, from one pass over the video.

    `wanted` ascends without repeats; indices past the end give the last frame. Raises DataError.
    """
    chunks = [wanted[start : start + size] for start in range(0, len(wanted), size)]
    if not chunks:
        return
    read = _seek_chunks(path, chunks)
    num_read = 0
    for frames in read:
        yield frames
        num_read += 1
    if left := chunks[num_read:]:
        images = _scan_frames(path, np.concatenate(left))
        for chunk in left:
            yield np.stack(list(islice(images, len(chunk))))


def read_flow_stacks(
    path: Path, starts: Positions, stack_length: int
) -> UInt8[np.ndarray, "time channels height width"]:
    """Read stacks of stored optical flow; channels interleave x and y of `stack_length` frames.

    A stored frame holds x above y, and can be read alone: each is a key frame. Indices past the
    end give the last frame. Raises DataError.
    """
    stacks = np.asarray(starts)[:, None] + np.arange(stack_length)
    with open_video(path) as container:
        last = container.streams.video[0].frames - 1
        wanted, order = np.unique(np.minimum(stacks, last), return_inverse=True)
        planes = np.stack([_luma_plane(frame) for frame in _seek_each(container, wanted)])
    x_and_y = planes.reshape(len(planes), 2, -1, planes.shape[-1])
    return x_and_y[order].reshape(len(stacks), 2 * stack_length, *x_and_y.shape[2:])


@contextmanager
def open_video(path: Path) -> Iterator["InputContainer"]:
    """Open a video for single-threaded decoding; a fault of the file becomes a DataError."""
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(path), options={"format_whitelist": _FORMATS}) as container:
            if not container.streams.video:
                raise DataError(f"{path} has no video stream: ingest the videos again")
            container.streams.video[0].thread_count = 1
            yield container
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: ingest the videos, or extract the flow") from error
    except FFmpegError as error:
        raise DataError(f"{path} does not decode ({error.strerror})") from error


def decode_video(path: Path) -> Iterator["VideoFrame"]:
    """Yield the frames that decode, in order, as they are stored; see `turn_upright`."""
    with open_video(path) as container:
        yield from container.decode(video=0)


def turn_upright(image: np.ndarray, rotation: int) -> np.ndarray:
    """Turn an image by its frame's `rotation` (degrees, as phones write it), as players do."""
    return np.rot90(image, rotation // 90)


def _seek_chunks(
    path: Path, chunks: Sequence[Int[np.ndarray, " _chunk"]]
) -> Iterator[UInt8[np.ndarray, "_chunk height width 3"]]:
    """Read with decord; stop early where it cannot or should not be trusted, or is the slower."""
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    try:
        reader = decord.VideoReader(str(path), num_threads=1)
        starts = reader.get_frame_timestamp(range(len(reader)))[:, 0]
        if not np.all(np.diff(starts) > 0):
            return
        places = np.minimum(np.concatenate(chunks), len(reader) - 1)
        keys = np.asarray(reader.get_key_indices())
        if _num_decoded(places, keys) > MOST_SOUGHT * (places[-1] + 1):
            return
        for chunk in chunks:
            yield reader.get_batch(np.minimum(chunk, len(reader) - 1)).asnumpy()
            reader.seek(0)  # else it holds on to hundreds of frames that it has decoded
    except (decord.DECORDError, RuntimeError, AssertionError):
        return


def _num_decoded(places: Int[np.ndarray, " time"], keys: Int[np.ndarray, " keys"]) -> int:
    """Count the frames to decode for ascending `places`, from a key frame or the place before."""
    from_key = keys[np.searchsorted(keys, places, side="right") - 1]
    from_last = np.concatenate([[-1], places[:-1]]) + 1
    return int((places - np.maximum(from_key, from_last) + 1).clip(min=0).sum())


def _scan_frames(
    path: Path, wanted: Int[np.ndarray, " time"]
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Decode in order up to the last wanted frame; `wanted` ascends without repeats."""
    frame = None
    num_found = 0
    for index, frame in enumerate(decode_video(path)):
        if index == wanted[num_found]:
            yield _to_rgb(frame)
            num_found += 1
            if num_found == len(wanted):
                return
    if frame is None:
        raise DataError(f"{path} has no frame that decodes: ingest the videos again")
    last = _to_rgb(frame)
    for _ in wanted[num_found:]:
        yield last


def _seek_each(
    container: "InputContainer", wanted: Int[np.ndarray, " time"]
) -> Iterator["VideoFrame"]:
    """Yield the frames at `wanted` indices of a stored optical flow."""
    stream = container.streams.video[0]
    for index in wanted.tolist():
        container.seek(index, stream=stream)
        frame = next(container.decode(stream), None)
        if frame is None or frame.pts != index:
            raise DataError(f"{container.name} lacks frame {index}: delete it and extract again")
        yield frame


def _to_rgb(frame: "VideoFrame") -> UInt8[np.ndarray, "height width 3"]:
    return turn_upright(frame.to_ndarray(format="rgb24"), frame.rotation)


def _luma_plane(frame: "VideoFrame") -> UInt8[np.ndarray, "height width"]:
    """Return the stored luma as it is: a conversion to gray takes four times as long."""
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width].copy()
