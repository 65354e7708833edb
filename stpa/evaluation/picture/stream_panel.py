"""One stream's panel: the frames that count most, what is said of them, and bars over time."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable

from stpa.evaluation.explain import Explanation
from stpa.evaluation.fusion import STREAM_TITLES
from stpa.evaluation.picture.flow_colours import ColouredFlow, colour_flow
from stpa.evaluation.picture.page import NEUTRAL, Page
from stpa.shapes import Float, UInt8

FRAMES_SHOWN = 6
WHOLE_FRAMES = "this head weighs whole frames, not positions"

OPACITY = 0.55
"""Of the colours that are laid over pictures."""
GRAYS = {"cmap": "gray", "vmin": -32, "vmax": 287}
"""For pictures below colours, which their own would mix with: gray, of low contrast."""

# In inches.
FRAME, GAP, HEADING, STRIP, TIME_AXIS = 1.3, 0.08, 0.3, 0.42, 0.5
_TIMES = 0.2
_ROW_WIDTH = FRAMES_SHOWN * (FRAME + GAP) - GAP
LEGEND_LEFT, _LEGEND_WIDTH = _ROW_WIDTH + 0.15, 1.4
PANEL_WIDTH = LEGEND_LEFT + _LEGEND_WIDTH
_TILES = [
    (column * (FRAME + GAP), column * (FRAME + GAP) + FRAME, 0.0, FRAME)
    for column in range(FRAMES_SHOWN)
]
"""Where the frames are in a row: left, right, bottom, top."""

Row = tuple[float, Callable[[Page, float, float], object]]
"""A row's height, and the function that draws it at (page, left, top)."""


class StreamPanel(ABC):
    """What is drawn of one stream; each frame counts once, however often it was looked at."""

    def __init__(self, stream: str, explanation: Explanation) -> None:
        self.explanation = explanation
        self.stream = stream
        looked_at = explanation.streams[stream]
        self.has_attention = float(np.ptp(looked_at.frame_weights)) > 0  # else all count alike
        self.seen = looked_at.distinct()
        best = np.argsort(-self.strength(), kind="stable")[:FRAMES_SHOWN]
        self.shown = np.sort(best)
        fps = explanation.fps
        self.times = self.seen.indices / fps if fps else self.seen.indices + 1.0
        self._frame_time = 1 / fps if fps else 1.0

    @abstractmethod
    def strength(self) -> Float[np.ndarray, " time"]:
        """Return how much each frame of `seen` counts; those that count most are shown."""

    @abstractmethod
    def rows(self) -> list[Row]:
        """Return the rows, from the top down."""

    @property
    def height(self) -> float:
        """The sum of the rows' heights, in inches."""
        return sum(height for height, _ in self.rows())

    def draw(self, page: Page, left: float, top: float) -> None:
        """Draw the rows one below the other."""
        for height, draw_row in self.rows():
            draw_row(page, left, top)
            top += height

    def heading_row(self, text: str) -> Row:
        """Return the stream's title with a text beside it."""

        def write(page: Page, left: float, top: float) -> None:
            page.write(left, top, STREAM_TITLES[self.stream], weight="bold", size=11)
            page.write(left + 1.25, top + 0.02, text, size=10)

        return HEADING, write

    def frames_row(self) -> Row:
        """Return what the network saw, with the times in the video above."""
        return _TIMES + FRAME + GAP, self._draw_frames

    def overlay_row(
        self,
        values: Float[np.ndarray, "time rows columns"],
        colours: ScalarMappable,
        draw_legend: Callable[[Page, float, float], None],
    ) -> Row:
        """Return values of the positions, laid over gray pictures."""

        def draw(page: Page, left: float, top: float) -> None:
            row = page.canvas(left, top, _ROW_WIDTH, FRAME)
            for tile, frame in zip(_TILES, self.shown, strict=False):
                row.imshow(self.seen.frames[frame].mean(axis=2), extent=tile, **GRAYS)
                row.imshow(colours.to_rgba(values[frame], alpha=OPACITY), extent=tile)
            draw_legend(page, left + LEGEND_LEFT, top)

        return FRAME + GAP, draw

    def draw_weights(self, page: Page, left: float, top: float) -> Axes:
        """Draw the share of each frame in what the head aggregates, over time."""
        weights = self.seen.frame_weights
        axes = self.draw_strip(page, left, top, weights, [NEUTRAL] * len(weights))
        axes.set_yticks([weights.max()], [f"{weights.max():.0%}"])
        label_strip(axes, "attention")
        self.name_times(axes)
        return axes

    def draw_strip(
        self,
        page: Page,
        left: float,
        top: float,
        heights: Float[np.ndarray, " time"],
        colours: list[str],
    ) -> Axes:
        """Draw a bar for each frame, as wide as the part of the video that it stands for."""
        axes = page.axes(left, top, _ROW_WIDTH, STRIP)
        edges = self.edges()
        bars = axes.bar(edges[:-1], heights, np.diff(edges), align="edge", color=colours)
        for frame, bar in enumerate(bars):
            bar.set(alpha=1 if frame in self.shown else 0.4, edgecolor="white", linewidth=0.5)
        axes.set_xlim(edges[0], edges[-1])
        if len(self.times) <= FRAMES_SHOWN:  # few frames: there is nothing between them
            axes.set_xticks(self.times)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        return axes

    def name_times(self, axes: Axes) -> None:
        """Say what a strip's horizontal axis is."""
        axes.set_xlabel("seconds" if self.explanation.fps else "frame")

    def _draw_frames(self, page: Page, left: float, top: float) -> None:
        top += _TIMES
        pictures: UInt8[np.ndarray, "time height width 3"] = self.seen.frames
        if self.seen.flow is not None:
            coloured = colour_flow(self.seen.flow)
            pictures = coloured.pictures
            draw_wheel(page, left + LEGEND_LEFT, top, coloured)
        row = page.canvas(left, top, _ROW_WIDTH, FRAME)
        for tile, frame in zip(_TILES, self.shown, strict=False):
            row.imshow(pictures[frame], extent=tile)
            time = self.times[frame]
            title = f"{time:.2f} s" if self.explanation.fps else f"frame {time:.0f}"
            row.text((tile[0] + tile[1]) / 2, FRAME + 0.04, title, ha="center")

    def edges(self) -> Float[np.ndarray, " edges"]:
        """Return the borders between frames, halfway in time, and one at each end."""
        times = self.times
        middles = (times[1:] + times[:-1]) / 2
        width = (times[-1] - times[0]) / len(middles) if len(middles) else self._frame_time
        return np.concatenate([[times[0] - width / 2], middles, [times[-1] + width / 2]])


def draw_panels(page: Page, left: float, top: float, panels: Iterable[StreamPanel]) -> float:
    """Draw panels one below the other; return where the last one ends."""
    for panel in panels:
        panel.draw(page, left, top)
        top += panel.height
    return top


def draw_scale(
    page: Page, left: float, top: float, colours: ScalarMappable, extend: str = "neither"
) -> Axes:
    """Draw the scale of colours over gray beside a row of frames; return its axes."""
    axes = page.axes(left, top + 0.22, 0.16, FRAME - 0.44)
    axes.set_facecolor("gray")  # for the same colours as over the pictures
    page.figure.colorbar(colours, cax=axes, alpha=OPACITY, extend=extend)
    return axes


def draw_wheel(page: Page, left: float, top: float, coloured: ColouredFlow) -> None:
    """Explain the colours of flow, beside a row of frames."""
    side = FRAME - 0.45
    page.canvas(left, top, side, side).imshow(coloured.wheel, extent=(0, side, 0, side))
    rim = f"motion; rim: {coloured.full_speed_px:.1f} px\nper frame"
    page.write(left, top + side + 0.06, rim)


def label_strip(axes: Axes, text: str) -> None:
    """Name a strip, left of its axis."""
    axes.set_ylabel(text, rotation=0, ha="right", va="center")
    axes.yaxis.set_label_coords(-0.05, 0.5)  # else the ticks move it
