"""The picture of attention: a panel for each stream, and what is in them."""

from matplotlib.figure import Figure

from stpa.evaluation.explain import Explanation
from stpa.evaluation.fusion import STREAM_TITLES
from stpa.evaluation.lettering import shorten
from stpa.evaluation.picture.attention_panel import AttentionPanel
from stpa.evaluation.picture.page import NEUTRAL, Page, styled
from stpa.evaluation.picture.stream_panel import PANEL_WIDTH, draw_panels

# In inches.
_LEFT, _TITLE_HEIGHT, _CAPTION_HEIGHT = 1.25, 0.8, 0.25

_CAPTION = (
    "Shown: the frames with the most attention, whose bars are strong. All maps: the mean of their "
    "weights. Single maps: a typical one first, then those that differ most."
)


def draw_attention(explanation: Explanation, name: str, note: str, num_maps: int) -> Figure:
    """Draw where and when each stream's head looks, as a whole and by `num_maps` of its maps.

    The heads of all streams have maps. `name` says which video it is, and `note` stands below the
    title.
    """
    panels = [
        AttentionPanel(stream, explanation, num_maps)
        for stream in STREAM_TITLES
        if stream in explanation.streams
    ]
    height = _TITLE_HEIGHT + sum(panel.height for panel in panels) + _CAPTION_HEIGHT
    with styled("".join([name, note, explanation.winner])):
        page = Page(_LEFT + PANEL_WIDTH, height)
        title = f"{shorten(name, 60)}: {shorten(explanation.winner, 40)}"
        page.write(_LEFT, 0.12, title, size=14, weight="bold")
        page.write(_LEFT, 0.42, shorten(note, 130), color=NEUTRAL, size=10)
        end = draw_panels(page, _LEFT, _TITLE_HEIGHT, panels)
        page.write(_LEFT, end, _CAPTION, color=NEUTRAL, size=8)
    return page.figure
