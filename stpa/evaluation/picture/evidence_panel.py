"""One stream's part in an answer: the frames that decided, and the evidence on them."""

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from stpa.evaluation.lettering import shorten
from stpa.evaluation.picture.page import AGAINST, FOR, Page
from stpa.evaluation.picture.stream_panel import (
    FRAME,
    GAP,
    STRIP,
    TIME_AXIS,
    WHOLE_FRAMES,
    Row,
    StreamPanel,
    draw_scale,
    label_strip,
)
from stpa.shapes import Float

# Moreland's diverging map: equal steps of evidence look equal, to colour-blind readers too.
_COLOURS = "coolwarm"
_STRONG_PERCENTILE = 99  # of the evidence has full colour: one position does not fade all
_TINY = 1e-12  # logits, where there is no evidence at all


class EvidencePanel(StreamPanel):
    """What speaks for the winner and for the runner-up, in space and time."""

    def strength(self) -> Float[np.ndarray, " time"]:
        return np.abs(self.seen.evidence).sum(axis=(1, 2))

    def rows(self) -> list[Row]:
        rows = [self.heading_row(self._heading()), self.frames_row()]
        if self.seen.has_positions:
            rows.append(self._positions_row())
        if self.has_attention:
            rows.append((STRIP + GAP, self._draw_weights_above))
        return [*rows, (STRIP + TIME_AXIS, self._draw_frame_evidence)]

    def _heading(self) -> str:
        winner, runner_up = self.explanation.winner, self.explanation.runner_up
        text = f"{self.explanation.lead(self.stream):+.1f} logits for {shorten(winner, 24)}"
        if runner_up is not None:
            text += f" over {shorten(runner_up, 24)}"
        return text if self.seen.has_positions else f"{text}; {WHOLE_FRAMES}"

    def _positions_row(self) -> Row:
        strengths = np.abs(self.seen.evidence)
        limit = max(float(np.percentile(strengths, _STRONG_PERCENTILE)), _TINY)
        colours = ScalarMappable(Normalize(-limit, limit), _COLOURS)

        def draw_legend(page: Page, left: float, top: float) -> None:
            axes = draw_scale(page, left, top, colours, extend="both")
            axes.set_yticks([-limit, 0, limit], [f"{-limit:.2g}", "0 logits", f"{limit:.2g}"])
            winner, runner_up = self.explanation.winner, self.explanation.runner_up
            against = (
                f"for {shorten(runner_up, 15)}" if runner_up else f"against {shorten(winner, 11)}"
            )
            page.write(left, top, f"for {shorten(winner, 15)}", color=FOR)
            page.write(left, top + FRAME, against, color=AGAINST, va="bottom")

        return self.overlay_row(self.seen.evidence, colours, draw_legend)

    def _draw_weights_above(self, page: Page, left: float, top: float) -> None:
        """Draw the frames' weights right above their evidence, which names the times of both."""
        axes = self.draw_weights(page, left, top)
        axes.set_xticklabels([])
        axes.set_xlabel("")

    def _draw_frame_evidence(self, page: Page, left: float, top: float) -> None:
        parts = self.seen.evidence.sum(axis=(1, 2))
        colours = [FOR if part > 0 else AGAINST for part in parts]
        axes = self.draw_strip(page, left, top, parts, colours)
        axes.axhline(0, color="black", linewidth=0.6)
        strongest = parts[np.abs(parts).argmax()]
        axes.set_yticks([0, strongest], ["0", f"{strongest:.2g}"])
        label_strip(axes, "evidence,\nlogits")
        self.name_times(axes)
