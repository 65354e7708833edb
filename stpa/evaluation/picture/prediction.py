"""The whole picture: title, classes, a panel for each stream, and what the colours mean."""

import numpy as np
from matplotlib.figure import Figure

from stpa.evaluation.explain import Explanation
from stpa.evaluation.fusion import STREAM_TITLES
from stpa.evaluation.lettering import shorten
from stpa.evaluation.picture.evidence_panel import EvidencePanel
from stpa.evaluation.picture.page import AGAINST, FOR, NEUTRAL, Page, styled
from stpa.evaluation.picture.stream_panel import PANEL_WIDTH, draw_panels

CLASSES_SHOWN = 5

# In inches.
_MARGIN = 0.25
_TITLE_HEIGHT, _CAPTION_HEIGHT, _AXIS_HEIGHT = 0.9, 0.25, 0.5
_BARS_LEFT, _BARS_WIDTH, _PANEL_LEFT = 1.0, 2.4, 4.3
_THICKEST_BAR = 0.42


def draw_prediction(explanation: Explanation, name: str, note: str) -> Figure:
    """Draw the likeliest classes at the left, and a panel for each stream at the right.

    The winner and what speaks for it are red, the runner-up and what speaks for it blue. `name`
    says which video it is, and `note` stands below the title.
    """
    panels = [
        EvidencePanel(stream, explanation)
        for stream in STREAM_TITLES
        if stream in explanation.streams
    ]
    height = _TITLE_HEIGHT + sum(panel.height for panel in panels) + _CAPTION_HEIGHT
    with styled("".join([name, note, *explanation.class_names])):
        page = Page(_PANEL_LEFT + PANEL_WIDTH, height)
        page.write(_MARGIN, 0.18, _title(explanation, name), size=14, weight="bold")
        page.write(_MARGIN, 0.47, shorten(note, 150), color=NEUTRAL, size=10)
        _draw_classes(page, explanation)
        end = draw_panels(page, _PANEL_LEFT, _TITLE_HEIGHT, panels)
        page.write(_PANEL_LEFT, end, _caption(explanation), color=NEUTRAL, size=8)
    return page.figure


def _draw_classes(page: Page, explanation: Explanation) -> None:
    """Draw the probabilities of the likeliest classes, fused and by each stream alone."""
    probabilities = explanation.probabilities()
    best = np.argsort(-explanation.scores, kind="stable")[:CLASSES_SHOWN]
    pitch = len(probabilities) + 1.6  # from class to class: a bar is 1, name and gap the rest
    num_units = len(best) * pitch
    room = page.height - _TITLE_HEIGHT - _CAPTION_HEIGHT - _AXIS_HEIGHT
    height = min(room, num_units * _THICKEST_BAR)
    axes = page.axes(_BARS_LEFT, _TITLE_HEIGHT, _BARS_WIDTH, height)
    roles = {explanation.contrast.winner: FOR, explanation.contrast.runner_up: AGAINST}
    ticks: dict[float, str] = {}
    for top, index in zip(np.arange(len(best)) * pitch, best.tolist(), strict=True):
        colour = roles.get(index, NEUTRAL)
        class_name = shorten(explanation.class_names[index], 34)
        weight = "bold" if index in roles else "normal"
        written = axes.text(
            -0.33, top, class_name, color=colour, weight=weight, size=10, va="center"
        )
        page.shrink(written, _BARS_LEFT + _BARS_WIDTH - _MARGIN)
        for row, (stream, shares) in enumerate(probabilities.items()):
            y, share = top + 0.9 + row, float(shares[index])
            axes.barh(y, share, height=0.75, color=colour, alpha=0.5 if row else 1)
            axes.text(share + 0.02, y, f"{share:.0%}", size=8, va="center")
            ticks[y] = STREAM_TITLES[stream]
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=8)
    axes.set(xlim=(0, 1.12), ylim=(num_units - 1.1, -0.6), xticks=[0, 0.5, 1])
    axes.set_xlabel("probability")
    axes.tick_params(length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _title(explanation: Explanation, name: str) -> str:
    probabilities, contrast = explanation.answer(), explanation.contrast
    winner = f"{shorten(explanation.winner, 28)} {probabilities[contrast.winner]:.0%}"
    title = f"{shorten(name, 40)}: {winner}"
    if explanation.runner_up is None:
        return title
    runner_up = f"{shorten(explanation.runner_up, 28)} {probabilities[contrast.runner_up]:.0%}"
    return f"{title}, runner-up: {runner_up}"


def _caption(explanation: Explanation) -> str:
    winner, runner_up = shorten(explanation.winner, 20), explanation.runner_up
    lead = f"the lead over {shorten(runner_up, 20)}" if runner_up else f"the logit of {winner}"
    has_positions = any(seen.has_positions for seen in explanation.streams.values())
    return (
        "Shown: the frames with the most evidence, whose bars are strong. Evidence: the part of "
        f"each {'position' if has_positions else 'frame'} in {lead}, by features times gradient."
    )
