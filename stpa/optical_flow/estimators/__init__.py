"""Dense optical flow between neighbouring frames.

To add an estimator: a file with a function that makes it, and its entry.
"""

from stpa.optical_flow.estimators import opencv, raft, tvl1
from stpa.optical_flow.estimators.base import Estimator, Flows, Frames, Method

ESTIMATORS: dict[str, Method] = {
    "tvl1": Method(tvl1.estimator, ("torch",), on_gpu=True),
    "opencv_tvl1": Method(opencv.opencv_tvl1),
    "dis": Method(opencv.dis),
    "farneback": Method(opencv.farneback),
    "raft": Method(raft.estimator, ("torch", "torchvision"), on_gpu=True),
}

__all__ = ["ESTIMATORS", "Estimator", "Flows", "Frames", "Method"]
