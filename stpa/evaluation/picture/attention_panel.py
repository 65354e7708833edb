"""One stream's attention: all maps together, and those that differ most, over the frames."""

from functools import partial

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from stpa.evaluation.explain import Explanation, unlike_maps
from stpa.evaluation.picture.page import NEUTRAL, Page
from stpa.evaluation.picture.stream_panel import (
    FRAME,
    STRIP,
    TIME_AXIS,
    WHOLE_FRAMES,
    Row,
    StreamPanel,
    draw_scale,
)
from stpa.shapes import Float

COLOURS = ScalarMappable(Normalize(0, 1), "inferno")
"""For weights over the largest of their frame. Equal steps look equal, in gray too."""


def over_largest(
    maps: Float[np.ndarray, "time rows columns"],
) -> Float[np.ndarray, "time rows columns"]:
    """Divide each frame's weights by the largest one, as Fig. 4 and 5 need.

    Over all frames of a clip only few weights are large (Du et al., section 4.4).
    """
    largest = maps.max(axis=(1, 2), keepdims=True)
    return maps / np.where(largest > 0, largest, 1)


class AttentionPanel(StreamPanel):
    """Where and when a stream's head looks; the frames with the most weight are shown.

    A row is one map over several frames, as in Fig. 4 of Du et al.; a column several maps over one
    frame, as in Fig. 5.
    """

    def __init__(self, stream: str, explanation: Explanation, num_maps: int) -> None:
        """Take the number of maps that get a row of their own."""
        super().__init__(stream, explanation)
        attention = self.seen.attention
        assert attention is not None, "a head without maps has no such panel"
        self._attention = attention
        self._chosen = unlike_maps(attention, num_maps).tolist()

    def strength(self) -> Float[np.ndarray, " time"]:
        return self.seen.frame_weights

    def rows(self) -> list[Row]:
        rows = [self.heading_row(self._heading()), self.frames_row()]
        if self.seen.has_positions:
            num_maps = self._attention.shape[1]
            rows.append(self._map_row(f"all {num_maps} maps", self._attention.mean(axis=1)))
            rows.extend(
                self._map_row(f"map {index + 1}", self._attention[:, index])
                for index in self._chosen
            )
        return [*rows, (STRIP + TIME_AXIS, self.draw_weights)]

    def _map_row(self, title: str, maps: Float[np.ndarray, "time rows columns"]) -> Row:
        return self.overlay_row(over_largest(maps), COLOURS, partial(draw_legend, title))

    def _heading(self) -> str:
        num_frames, num_maps, rows, columns = self._attention.shape
        weights = self._attention.swapaxes(0, 1).reshape(num_maps, -1)
        positions = float((1 / np.square(weights).sum(axis=1)).mean())
        text = f"a map weighs {positions:.0f} of {weights.shape[1]} positions"
        if not self.seen.has_positions:
            return f"{text}; {WHOLE_FRAMES}"
        return f"{text}, {num_frames} frames of {rows} x {columns}"


def draw_legend(title: str, page: Page, left: float, top: float) -> None:
    """Draw the scale of `COLOURS` beside a row of frames."""
    axes = draw_scale(page, left, top, COLOURS)
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    page.write(left, top, title, weight="bold")
    page.write(left, top + FRAME, "of the frame's largest", color=NEUTRAL, size=8, va="bottom")
