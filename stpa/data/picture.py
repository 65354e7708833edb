"""A decoded frame as a picture: upright and in RGB, as players show it."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stpa.shapes import UInt8

if TYPE_CHECKING:
    from av import VideoFrame

_UNSPECIFIED = 2
_BT2020 = 9
_USABLE_MATRICES = frozenset({0, 1, _UNSPECIFIED, 4, 5, 6, 7, _BT2020})
"""Matrices from RGB to the stored colours, by their numbers in ITU-T H.273, that can be undone."""
_ODD_MATRICES = {
    8: "YCgCo",
    10: "BT.2020 with constant luminance",
    11: "SMPTE 2085",
    12: "chromaticity-derived",
    13: "chromaticity-derived with constant luminance",
    14: "ICtCp",
    15: "IPT-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}
_NEAREST = {10: _BT2020}
"""Of the odd ones; for others nothing is nearer than the matrix of files that name none."""


class Orientation(NamedTuple):
    """How a stored picture is turned upright: first transposed, then flipped."""

    transposed: bool
    flipped_x: bool
    """Left and right."""
    flipped_y: bool
    """Top and bottom."""


UPRIGHT = Orientation(False, False, False)


class RgbConverter:
    """Turns the frames of one video into upright RGB images, as players show them."""

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()  # a frame's own would be set up for it alone
        self._rotation: int | None = None
        self._orientation = UPRIGHT

    def size(self, frame: "VideoFrame") -> tuple[int, int]:
        """Return the width and height of a frame's image."""
        if self._find_orientation(frame).transposed:
            return frame.height, frame.width
        return frame.width, frame.height

    def __call__(self, frame: "VideoFrame") -> UInt8[np.ndarray, "height width 3"]:
        if frame.colorspace not in _USABLE_MATRICES:
            frame.colorspace = _NEAREST.get(frame.colorspace, _UNSPECIFIED)
        rgb = self._reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        transposed, flipped_x, flipped_y = self._find_orientation(frame)
        if transposed:
            rgb = rgb.swapaxes(0, 1)
        return rgb[:: -1 if flipped_y else 1, :: -1 if flipped_x else 1]

    def _find_orientation(self, frame: "VideoFrame") -> Orientation:
        # Not of each frame: one whose side data were looked at lives until Python's collector of
        # cycles comes, and large ones fill the memory first.
        if frame.rotation != self._rotation:
            self._rotation, self._orientation = frame.rotation, find_orientation(frame)
        return self._orientation


def find_orientation(frame: "VideoFrame") -> Orientation:
    """Return how a frame is turned upright: by the quarter turn and mirroring that come nearest.

    The container's matrix may turn by any angle: by some degrees where an editor levelled the
    horizon. Frames stay rectangles here.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return UPRIGHT
    # A stored (column, row) is shown at (a column + c row, b column + d row), rows downwards.
    a, b, _, c, d, *_ = np.frombuffer(bytes(matrix), np.int32).tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


def odd_matrix(frame: "VideoFrame") -> str:
    """Return the name of a frame's colour matrix where another must stand in for it, else ""."""
    if frame.colorspace in _USABLE_MATRICES:
        return ""
    return _ODD_MATRICES.get(frame.colorspace, f"number {frame.colorspace}")
