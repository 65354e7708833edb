"""Motion between frames: estimators, its 8-bit form, and one stored video for each source video.

Add an estimator in `estimators`; `codec` owns the stored form; `extract` makes it.
"""

from stpa.optical_flow.estimators import ESTIMATORS, Estimator

__all__ = ["ESTIMATORS", "Estimator"]
