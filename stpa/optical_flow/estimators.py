"""Dense optical flow between two gray frames. To add an estimator: a factory and its entry.

All answer in pixels of the frames they are given: x grows to the right, y downwards, and a
point at (x, y) of the first frame is at (x, y) + flow in the second.
"""

from collections.abc import Callable

import cv2
import numpy as np

from stpa.shapes import Float, UInt8

Gray = UInt8[np.ndarray, "height width"]
Flow = Float[np.ndarray, "2 height width"]

Estimator = Callable[[Gray, Gray], Flow]
"""From two frames to the flow (x, y) between them. One call at a time: they keep buffers."""


def dis() -> Estimator:
    """Dense inverse search (Kroeger et al., ECCV 2016), OpenCV's medium preset."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def estimate(first: Gray, second: Gray) -> Flow:
        return _channels_first(search.calc(first, second, None))  # pyright: ignore[reportArgumentType, reportCallIssue]

    return estimate


def farneback() -> Estimator:
    """Polynomial expansion (Farneback, SCIA 2003), with the values of OpenCV's own example."""
    expansion = cv2.FarnebackOpticalFlow.create(
        numLevels=3, pyrScale=0.5, winSize=15, numIters=3, polyN=5, polySigma=1.2
    )

    def estimate(first: Gray, second: Gray) -> Flow:
        return _channels_first(expansion.calc(first, second, None))  # pyright: ignore[reportArgumentType, reportCallIssue]

    return estimate


ESTIMATORS: dict[str, Callable[[], Estimator]] = {"dis": dis, "farneback": farneback}


def _channels_first(flow: np.ndarray) -> Flow:
    return np.ascontiguousarray(flow.transpose(2, 0, 1))
