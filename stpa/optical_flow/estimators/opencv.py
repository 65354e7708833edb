"""Estimators of OpenCV, on the CPU."""

from itertools import pairwise

import cv2
import numpy as np

from stpa.optical_flow.estimators.base import Estimator, Flows, Frames, to_gray


def dis() -> Estimator:
    """Dense inverse search (Kroeger et al., ECCV 2016), the medium preset."""
    return _of_each_pair(cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM))


def farneback() -> Estimator:
    """Polynomial expansion (Farneback, SCIA 2003), with the values of OpenCV's own example."""
    return _of_each_pair(
        cv2.FarnebackOpticalFlow.create(
            numLevels=3, pyrScale=0.5, winSize=15, numIters=3, polyN=5, polySigma=1.2
        )
    )


def opencv_tvl1() -> Estimator:
    """TV-L1 of OpenCV's contributed modules, with its own values: those of `tvl1.OPENCV_CPU`."""
    return _of_each_pair(cv2.optflow.DualTVL1OpticalFlow.create())


def _of_each_pair(algorithm: cv2.DenseOpticalFlow) -> Estimator:
    def estimate(frames: Frames) -> Flows:
        pairs = pairwise(to_gray(frames))
        flows = [algorithm.calc(*pair, None) for pair in pairs]  # pyright: ignore[reportArgumentType, reportCallIssue]
        return np.ascontiguousarray(np.stack(flows).transpose(0, 3, 1, 2))

    return estimate
