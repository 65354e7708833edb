"""One stream's panel: the frames that decided, the evidence on them, and both over time."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from stpa.evaluation.explain import Explanation
from stpa.evaluation.fusion import STREAM_TITLES
from stpa.evaluation.lettering import shorten
from stpa.evaluation.picture.flow_colours import ColouredFlow, colour_flow
from stpa.evaluation.picture.page import AGAINST, FOR, NEUTRAL, Page
from stpa.shapes import Float, UInt8

FRAMES_SHOWN = 6
WHOLE_FRAMES = "this head weighs whole frames, not positions"

# Moreland's diverging map: equal steps of evidence look equal, to colour-blind readers too.
_EVIDENCE_COLOURS = "coolwarm"
_OPACITY = 0.55
_STRONG_PERCENTILE = 99  # of the evidence has full colour: one position does not fade all
_TINY = 1e-12  # logits, where there is no evidence at all

# In inches.
_FRAME, _GAP = 1.3, 0.08
_HEADING, _TIMES, _STRIP, _TIME_AXIS = 0.3, 0.2, 0.42, 0.5
_ROW_WIDTH = FRAMES_SHOWN * (_FRAME + _GAP) - _GAP
_LEGEND_LEFT, _LEGEND_WIDTH = _ROW_WIDTH + 0.15, 1.4
PANEL_WIDTH = _LEGEND_LEFT + _LEGEND_WIDTH
_TILES = [
    (column * (_FRAME + _GAP), column * (_FRAME + _GAP) + _FRAME, 0.0, _FRAME)
    for column in range(FRAMES_SHOWN)
]
"""Where the frames are in a row: left, right, bottom, top."""

Row = tuple[float, Callable[[Page, float, float], None]]
"""A row's height, and the function that draws it at (page, left, top)."""


class StreamPanel:
    """What is drawn of one stream; each frame counts once, however often it was looked at."""

    def __init__(self, stream: str, explanation: Explanation) -> None:
        self._stream, self._explanation = stream, explanation
        looked_at = explanation.streams[stream]
        self._has_attention = float(np.ptp(looked_at.frame_weights)) > 0  # else all count alike
        self._seen = looked_at.distinct()
        strength = np.abs(self._seen.evidence).sum(axis=(1, 2))
        self._shown = np.sort(np.argsort(-strength, kind="stable")[:FRAMES_SHOWN])
        fps = explanation.fps
        self._times = self._seen.indices / fps if fps else self._seen.indices + 1.0
        self._frame_time = 1 / fps if fps else 1.0

    @property
    def height(self) -> float:
        """The sum of the rows' heights, in inches."""
        return sum(height for height, _ in self._rows())

    def draw(self, page: Page, left: float, top: float) -> None:
        """Draw the rows one below the other."""
        for height, draw_row in self._rows():
            draw_row(page, left, top)
            top += height

    def _rows(self) -> list[Row]:
        rows: list[Row] = [
            (_HEADING, self._write_heading),
            (_TIMES + _FRAME + _GAP, self._draw_frames),
        ]
        if self._seen.has_positions:
            rows.append((_FRAME + 2 * _GAP, self._draw_positions))
        if self._has_attention:
            rows.append((_STRIP + _GAP, self._draw_frame_weights))
        return [*rows, (_STRIP + _TIME_AXIS, self._draw_frame_evidence)]

    def _write_heading(self, page: Page, left: float, top: float) -> None:
        winner, runner_up = self._explanation.winner, self._explanation.runner_up
        text = f"{self._explanation.lead(self._stream):+.1f} logits for {shorten(winner, 24)}"
        if runner_up is not None:
            text += f" over {shorten(runner_up, 24)}"
        if not self._seen.has_positions:
            text += f"; {WHOLE_FRAMES}"
        page.write(left, top, STREAM_TITLES[self._stream], weight="bold", size=11)
        page.write(left + 1.25, top + 0.02, text, size=10)

    def _draw_frames(self, page: Page, left: float, top: float) -> None:
        """Draw what the network saw, with the times in the video above."""
        top += _TIMES
        pictures: UInt8[np.ndarray, "time height width 3"] = self._seen.frames
        if self._seen.flow is not None:
            coloured = colour_flow(self._seen.flow)
            pictures = coloured.pictures
            _draw_wheel(page, left + _LEGEND_LEFT, top, coloured)
        row = page.canvas(left, top, _ROW_WIDTH, _FRAME)
        for tile, frame in zip(_TILES, self._shown, strict=False):
            row.imshow(pictures[frame], extent=tile)
            time = self._times[frame]
            title = f"{time:.2f} s" if self._explanation.fps else f"frame {time:.0f}"
            row.text((tile[0] + tile[1]) / 2, _FRAME + 0.04, title, ha="center")

    def _draw_positions(self, page: Page, left: float, top: float) -> None:
        """Lay the evidence over gray pictures, whose colours it would mix with otherwise."""
        strengths = np.abs(self._seen.evidence)
        limit = max(float(np.percentile(strengths, _STRONG_PERCENTILE)), _TINY)
        colours = ScalarMappable(Normalize(-limit, limit), _EVIDENCE_COLOURS)
        row = page.canvas(left, top, _ROW_WIDTH, _FRAME)
        for tile, frame in zip(_TILES, self._shown, strict=False):
            gray = self._seen.frames[frame].mean(axis=2)
            row.imshow(gray, cmap="gray", vmin=-32, vmax=287, extent=tile)  # of low contrast
            row.imshow(colours.to_rgba(self._seen.evidence[frame], alpha=_OPACITY), extent=tile)
        self._draw_scale(page, left + _LEGEND_LEFT, top, colours, limit)

    def _draw_scale(
        self, page: Page, left: float, top: float, colours: ScalarMappable, limit: float
    ) -> None:
        scale = page.axes(left, top + 0.22, 0.16, _FRAME - 0.44)
        scale.set_facecolor("gray")  # for the same colours as over the pictures
        bar = page.figure.colorbar(colours, cax=scale, extend="both", alpha=_OPACITY)
        bar.set_ticks([-limit, 0, limit], labels=[f"{-limit:.2g}", "0 logits", f"{limit:.2g}"])
        winner, runner_up = self._explanation.winner, self._explanation.runner_up
        against = f"for {shorten(runner_up, 15)}" if runner_up else f"against {shorten(winner, 11)}"
        page.write(left, top, f"for {shorten(winner, 15)}", color=FOR)
        page.write(left, top + _FRAME, against, color=AGAINST, va="bottom")

    def _draw_frame_weights(self, page: Page, left: float, top: float) -> None:
        weights = self._seen.frame_weights
        axes = self._draw_strip(page, left, top, weights, [NEUTRAL] * len(weights))
        axes.set_yticks([weights.max()], [f"{weights.max():.0%}"])
        _label(axes, "attention")
        axes.set_xticklabels([])

    def _draw_frame_evidence(self, page: Page, left: float, top: float) -> None:
        parts = self._seen.evidence.sum(axis=(1, 2))
        colours = [FOR if part > 0 else AGAINST for part in parts]
        axes = self._draw_strip(page, left, top, parts, colours)
        axes.axhline(0, color="black", linewidth=0.6)
        strongest = parts[np.abs(parts).argmax()]
        axes.set_yticks([0, strongest], ["0", f"{strongest:.2g}"])
        _label(axes, "evidence,\nlogits")
        axes.set_xlabel("seconds" if self._explanation.fps else "frame")

    def _draw_strip(
        self,
        page: Page,
        left: float,
        top: float,
        heights: Float[np.ndarray, " time"],
        colours: list[str],
    ) -> Axes:
        """Draw a bar for each frame, as wide as the part of the video that it stands for."""
        axes = page.axes(left, top, _ROW_WIDTH, _STRIP)
        edges = self._edges()
        bars = axes.bar(edges[:-1], heights, np.diff(edges), align="edge", color=colours)
        for frame, bar in enumerate(bars):
            bar.set(alpha=1 if frame in self._shown else 0.4, edgecolor="white", linewidth=0.5)
        axes.set_xlim(edges[0], edges[-1])
        if len(self._times) <= FRAMES_SHOWN:  # few frames: there is nothing between them
            axes.set_xticks(self._times)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        return axes

    def _edges(self) -> Float[np.ndarray, " edges"]:
        """Return the borders between frames, halfway in time, and one at each end."""
        times = self._times
        middles = (times[1:] + times[:-1]) / 2
        width = (times[-1] - times[0]) / len(middles) if len(middles) else self._frame_time
        return np.concatenate([[times[0] - width / 2], middles, [times[-1] + width / 2]])


def _draw_wheel(page: Page, left: float, top: float, coloured: ColouredFlow) -> None:
    side = _FRAME - 0.45
    page.canvas(left, top, side, side).imshow(coloured.wheel, extent=(0, side, 0, side))
    rim = f"motion; rim: {coloured.full_speed_px:.1f} px\nper frame"
    page.write(left, top + side + 0.06, rim)


def _label(axes: Axes, text: str) -> None:
    axes.set_ylabel(text, rotation=0, ha="right", va="center")
    axes.yaxis.set_label_coords(-0.05, 0.5)  # else the ticks move it
