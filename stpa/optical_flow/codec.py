"""Optical flow as 8-bit video: quantisation, and one file that says how it was made.

A stored frame is gray, full range, x above y. Every frame of MJPEG is a key frame, so that a
stack at any index is read without its neighbours (`stpa.data.decode.read_flow_stacks`).
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stpa.files import atomic_path
from stpa.shapes import Float, UInt8

if TYPE_CHECKING:
    from av import VideoFrame

FRAMES_PER_SECOND = 25
"""For a person who plays the file: the pipeline reads frames by their index."""
JPEG_QUANTISER = "2"
"""MJPEG's finest but one: smooth flow comes back within 2 levels of 255."""


def quantise(flow: Float[np.ndarray, "*shape"], bound_px: float) -> UInt8[np.ndarray, "*shape"]:
    """Map [-bound_px, bound_px] linearly onto 0..255; what lies outside is clipped (TSN)."""
    levels = np.round(255 * (flow + bound_px) / (2 * bound_px))
    return np.clip(levels, 0, 255).astype(np.uint8)


def dequantise(levels: UInt8[np.ndarray, "*shape"], bound_px: float) -> Float[np.ndarray, "*shape"]:
    """Undo `quantise`, to half a level: bound_px / 255 px."""
    return levels.astype(np.float32) * (2 * bound_px / 255) - bound_px


def write_flow_video(
    path: Path,
    frames: Iterable[UInt8[np.ndarray, "2 height width"]],
    *,
    width: int,
    height: int,
    provenance: Mapping[str, Any],
) -> None:
    """Write quantised flow as an AVI file that carries `provenance`; all of it or nothing."""
    import av

    with atomic_path(path) as temporary, av.open(str(temporary), "w") as container:
        container.metadata["comment"] = json.dumps(provenance, sort_keys=True)
        stream = container.add_stream("mjpeg", rate=FRAMES_PER_SECOND)
        stream.width, stream.height, stream.pix_fmt = width, 2 * height, "yuvj420p"
        stream.thread_count = 1
        stream.options = {"qmin": JPEG_QUANTISER, "qmax": JPEG_QUANTISER}
        for frame in frames:
            container.mux(stream.encode(_gray_frame(frame.reshape(2 * height, width))))
        container.mux(stream.encode())


def read_provenance(path: Path) -> dict[str, Any] | None:
    """Return what `write_flow_video` recorded; None where there is no such file."""
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(path), format="avi") as container:
            return json.loads(container.metadata["comment"])
    except (FFmpegError, KeyError, json.JSONDecodeError):
        return None


def _gray_frame(levels: UInt8[np.ndarray, "height width"]) -> "VideoFrame":
    """Lay levels out as full-range luma, with neutral chroma: no conversion touches them."""
    from av import VideoFrame

    frame = VideoFrame(levels.shape[1], levels.shape[0], "yuvj420p")
    luma, *chroma = frame.planes
    padding = luma.line_size - levels.shape[1]
    luma.update(np.pad(levels, ((0, 0), (0, padding)), mode="edge").tobytes())
    for plane in chroma:
        plane.update(bytes([128]) * plane.buffer_size)
    return frame
