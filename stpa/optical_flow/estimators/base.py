"""What an estimator of optical flow is."""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from stpa.shapes import Float, UInt8

Frames = UInt8[np.ndarray, "frames height width 3"]
"""A run of upright RGB frames."""

Flows = Float[np.ndarray, "pairs 2 height width"]
"""The flow (x, y) from each frame of a run, but the last, to the next one.

In pixels of the frames: x grows to the right, y downwards, and a point at (x, y) of one frame is
at (x, y) + flow in the next.
"""

Estimator = Callable[[Frames], Flows]
"""One call at a time: they keep buffers."""


class Method(NamedTuple):
    """How an estimator is made."""

    make: Callable[..., Estimator]
    """Takes `OpticalFlowConfig.options`; raises TypeError for unknown ones, ValueError for wrong
    ones. The estimator that it returns loads what it needs at its first call."""
    packages: tuple[str, ...] = ()
    """Python packages whose versions decide the flow too, beside OpenCV, which resizes."""
    version: int = 1
    """Raised when the code here comes to another flow: what is stored is then made anew."""
    on_gpu: bool = False
    """Whether it runs on a GPU where there is one."""


def to_gray(frames: Frames) -> UInt8[np.ndarray, "frames height width"]:
    """Return the rounded luma of RGB frames (ITU-R BT.601)."""
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
