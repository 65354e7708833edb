"""Pictures of what networks saw: of a prediction and what decided it, and of attention.

Only drawing is here. What is drawn is computed in `stpa.evaluation.explain`.
"""

from stpa.evaluation.picture.attention import draw_attention
from stpa.evaluation.picture.files import FORMATS, check_format, write_picture
from stpa.evaluation.picture.film import draw_film, write_film
from stpa.evaluation.picture.prediction import draw_prediction
from stpa.evaluation.picture.stream_panel import FRAMES_SHOWN, WHOLE_FRAMES

__all__ = [
    "FORMATS",
    "FRAMES_SHOWN",
    "WHOLE_FRAMES",
    "check_format",
    "draw_attention",
    "draw_film",
    "draw_prediction",
    "write_film",
    "write_picture",
]
