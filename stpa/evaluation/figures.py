"""The pictures of the report, drawn as SVG."""

import base64
import io
import itertools
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from stpa.average_precision import average_precisions
from stpa.evaluation.fusion import FUSED
from stpa.evaluation.judging import TITLES
from stpa.evaluation.metrics import confusion
from stpa.evaluation.scores import Scores

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

_MAX_NUMBERED_CLASSES = 15
_STYLE: dict["RcKeyType", Any] = {
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",  # the browser has the letters that matplotlib's fonts lack
    "svg.hashsalt": "report",  # equal figures, equal bytes
    "text.parse_math": False,  # a class name may hold a dollar sign
}
_COLOURS = {"rgb": "#d95f02", "flow": "#1b9e77", FUSED: "#4a3fa0"}
_OTHER_COLOUR = "#555555"


def draw_sweep(all_scores: Sequence[Scores]) -> Figure:
    """Plot the headline figure against K, a line for each stream and head."""
    title = TITLES[all_scores[0].judging.headline]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        heads = list(dict.fromkeys(scores.head for scores in all_scores))
        dashes = dict(zip(heads, itertools.cycle(["-", "--", ":", "-."]), strict=False))
        for scores in all_scores:
            counts = sorted(scores.logits)
            axes.plot(
                counts,
                [100 * scores.headline(count) for count in counts],
                color=_COLOURS.get(scores.stream, _OTHER_COLOUR),
                linestyle=dashes[scores.head],
                marker="o",
                label=f"{scores.stream}, {scores.head}",
            )
        axes.set(xlabel="K, segments a video", ylabel=f"{title}, %", ylim=(0, 102))
        axes.set_xticks(sorted({count for scores in all_scores for count in scores.logits}))
        axes.grid(axis="y", alpha=0.3)
        figure.legend(loc="outside right upper", frameon=False)
    return figure


def draw_confusion(scores: Scores, num_segments: int) -> Figure:
    """Plot which classes are taken for which, each row summing to one where it has videos."""
    counts = confusion(scores.at(num_segments), scores.labels.argmax(axis=1))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = scores.class_names
    with mpl.rc_context(_STYLE):
        side = 2.5 + 0.45 * min(len(names), 30)
        figure = Figure(figsize=(side, side), layout="constrained")
        axes = figure.subplots()
        axes.imshow(shares, cmap="Purples", vmin=0, vmax=1)
        size = 10 if len(names) <= 30 else 4
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
        axes.set_yticks(range(len(names)), names, fontsize=size)
        axes.set(xlabel="taken for", ylabel="is")
        if len(names) <= _MAX_NUMBERED_CLASSES:
            for (row, column), count in np.ndenumerate(counts):
                if count:
                    colour = "white" if shares[row, column] > 0.5 else "black"
                    axes.text(column, row, str(count), ha="center", va="center", color=colour)
    return figure


def draw_average_precisions(scores: Scores, num_segments: int) -> Figure:
    """Plot each class's average precision, the highest on top, and how many videos show it."""
    found = average_precisions(scores.at(num_segments), scores.labels)
    num_positive = scores.labels.sum(axis=0)
    order = [index for index in np.argsort(found) if num_positive[index]]
    names = [f"{scores.class_names[index]} ({num_positive[index]})" for index in order]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 1.2 + 0.22 * len(order)), layout="constrained")
        axes = figure.subplots()
        axes.barh(range(len(order)), 100 * found[order], color=_COLOURS[FUSED])
        axes.set_yticks(range(len(order)), names, fontsize=8)
        axes.set(xlabel="average precision, %", xlim=(0, 100), ylim=(-0.6, len(order) - 0.4))
        axes.grid(axis="x", alpha=0.3)
    return figure


def embed(figure: Figure) -> str:
    """Return a figure as the address of an image that is written out in the address itself."""
    picture = io.StringIO()
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(picture, format="svg", metadata={"Date": None})
    encoded = base64.b64encode(picture.getvalue().encode()).decode()
    return f"data:image/svg+xml;base64,{encoded}"
