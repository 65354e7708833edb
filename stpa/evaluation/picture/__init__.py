"""The picture of a prediction: its classes, the frames that decided, and the positions in them.

Only drawing is here. What is drawn is computed in `stpa.evaluation.explain`.
"""

from stpa.evaluation.picture.files import FORMATS, check_format, write_picture
from stpa.evaluation.picture.prediction import draw_prediction
from stpa.evaluation.picture.stream_panel import FRAMES_SHOWN, WHOLE_FRAMES

__all__ = [
    "FORMATS",
    "FRAMES_SHOWN",
    "WHOLE_FRAMES",
    "check_format",
    "draw_prediction",
    "write_picture",
]
