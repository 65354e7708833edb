"""A figure that is laid out in inches from its top left corner."""

from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from stpa.evaluation.lettering import boxes_for_missing_glyphs, families_for

FOR, AGAINST, NEUTRAL = "#b40426", "#3b4cc0", "#808080"
"""The colours of the winner, of the runner-up, and of what belongs to neither: the two ends of
matplotlib's map "coolwarm"."""

_DOTS_PER_INCH = 110
_SLACK = 0.97


def styled(text: str) -> AbstractContextManager[None]:
    """Draw the block's pages in fonts that have the characters of `text`, which is no formula."""
    families = families_for(text)
    return mpl.rc_context({"font.family": families, "font.size": 9, "text.parse_math": False})


class Page:
    """A figure, and where things are on it: in inches from the left and from the top."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Add axes for a plot."""
        bottom = self.height - top - height
        return self.figure.add_axes(
            (
                left / self.width,
                bottom / self.height,
                width / self.width,
                height / self.height,
            )
        )

    def canvas(self, left: float, top: float, width: float, height: float) -> Axes:
        """Add invisible axes, whose coordinates are inches to the right and up."""
        axes = self.axes(left, top, width, height)
        axes.set(xlim=(0, width), ylim=(0, height), autoscale_on=False)
        axes.axis("off")
        return axes

    def write(self, left: float, top: float, text: str, **style: Any) -> None:
        """Write text below `top`, unless the style has another `va` (vertical alignment).

        It gets smaller where it would leave the page.
        """
        style.setdefault("va", "top")
        written = self.figure.text(left / self.width, 1 - top / self.height, text, **style)
        self.shrink(written, self.width - left)

    def shrink(self, text: Text, width: float) -> None:
        """Make text on this page smaller if it is wider than so many inches."""
        # Glyphs have whole pixels, so a width does not follow the font's size evenly.
        while (found := self._width_of(text)) > width:
            text.set_fontsize(float(text.get_fontsize()) * _SLACK * width / found)

    def _width_of(self, text: Text) -> float:
        with boxes_for_missing_glyphs():
            return text.get_window_extent().width / self.figure.dpi
