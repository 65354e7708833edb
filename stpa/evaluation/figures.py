"""The pictures of the report, drawn as SVG."""

import base64
import io
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stpa.average_precision import average_precisions
from stpa.evaluation.confusions import Confusion
from stpa.evaluation.fusion import FUSED, STREAM_TITLES
from stpa.evaluation.judging import TITLES
from stpa.evaluation.lettering import boxes_for_missing_glyphs, shorten
from stpa.evaluation.metrics import confusion
from stpa.evaluation.scores import Scores
from stpa.streams import STREAMS

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

_MAX_NUMBERED_CLASSES = 15
_MAX_NAME = 24
"""Characters of a class name beside a matrix."""
_STYLE: dict["RcKeyType", Any] = {
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",  # the browser has the letters that matplotlib's fonts lack
    "svg.hashsalt": "report",  # equal figures, equal bytes
    "text.parse_math": False,  # a class name may hold a dollar sign
}
_COLOURS = {stream.name: stream.colour for stream in STREAMS.values()} | {FUSED: "#4a3fa0"}
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
        axes.set(xlabel="K, segments per video", ylabel=f"{title}, %", ylim=(0, 102))
        axes.set_xticks(sorted({count for scores in all_scores for count in scores.logits}))
        axes.grid(axis="y", alpha=0.3)
        figure.legend(loc="outside right upper", frameon=False)
    return figure


def draw_probabilities(title: str, confusion: Confusion, class_names: Sequence[str]) -> Figure:
    """Plot the mean probabilities that the videos of each class are given by one network."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.2, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.imshow(confusion, cmap="viridis", vmin=0)
        axes.set_title(title, loc="left", fontweight="bold")
        if len(class_names) > _MAX_NUMBERED_CLASSES:
            axes.set(xticks=[], yticks=[])
            return figure
        _name_classes(axes, class_names, fontsize=9)
        for (row, column), share in np.ndenumerate(confusion):
            colour = "black" if share > 0.6 * confusion.max() else "white"
            axes.text(
                column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour, size=7
            )
    return figure


def draw_confusion(scores: Scores, num_segments: int, order: Sequence[int]) -> Figure:
    """Plot which classes are taken for which, in the `order` of class indices.

    Each row sums to one where its class has videos.
    """
    counts = confusion(scores.at(num_segments), scores.labels.argmax(axis=1))[np.ix_(order, order)]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [scores.class_names[index] for index in order]
    with mpl.rc_context(_STYLE):
        side = 2.5 + 0.45 * min(len(names), 30)
        figure = Figure(figsize=(side, side), layout="constrained")
        axes = figure.subplots()
        axes.imshow(shares, cmap="Purples", vmin=0, vmax=1)
        _name_classes(axes, names, fontsize=10 if len(names) <= 30 else 4)
        axes.set(xlabel="taken for", ylabel="is")
        if len(names) <= _MAX_NUMBERED_CLASSES:
            for (row, column), count in np.ndenumerate(counts):
                if count:
                    colour = "white" if shares[row, column] > 0.5 else "black"
                    axes.text(column, row, str(count), ha="center", va="center", color=colour)
    return figure


def draw_average_precisions(streams: Sequence[Scores], num_segments: int) -> Figure:
    """Plot each class's average precision by each network, and how many videos show the class.

    The last network orders the classes: its best class is on top.
    """
    fused = streams[-1]
    num_positive = fused.labels.sum(axis=0)
    found = [average_precisions(each.at(num_segments), each.labels) for each in streams]
    order = [index for index in np.argsort(found[-1]) if num_positive[index]]
    names = [f"{fused.class_names[index]} ({num_positive[index]})" for index in order]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 1.6 + 0.22 * len(order)), layout="constrained")
        axes = figure.subplots()
        for scores, precisions in zip(streams, found, strict=True):
            axes.plot(
                100 * precisions[order],
                range(len(order)),
                marker="o",
                linestyle="none",
                color=_COLOURS.get(scores.stream, _OTHER_COLOUR),
                alpha=0.8,
                label=STREAM_TITLES[scores.stream],
            )
        axes.set_yticks(range(len(order)), names, fontsize=8)
        axes.set(xlabel="average precision, %", xlim=(-2, 102), ylim=(-0.6, len(order) - 0.4))
        axes.grid(alpha=0.3)
        figure.legend(loc="outside upper right", ncols=len(streams), frameon=False)
    return figure


def _name_classes(axes: Axes, names: Sequence[str], fontsize: int) -> None:
    short = [shorten(name, _MAX_NAME) for name in names]
    axes.set_xticks(range(len(names)), short, rotation=90, fontsize=fontsize)
    axes.set_yticks(range(len(names)), short, fontsize=fontsize)


def embed_plot(figure: Figure) -> str:
    """Return a plot as the address of an SVG image that is written out in the address itself."""
    return _embed(figure, "svg", "image/svg+xml", metadata={"Date": None})


def embed_photos(figure: Figure) -> str:
    """Return a figure with photographs as the address of a WebP image, written out likewise."""
    return _embed(figure, "webp", "image/webp", dpi=90, pil_kwargs={"quality": 80})


def _embed(figure: Figure, file_format: str, media_type: str, **options: Any) -> str:
    picture = io.BytesIO()
    with mpl.rc_context(_STYLE), boxes_for_missing_glyphs():
        figure.savefig(picture, format=file_format, **options)
    return f"data:{media_type};base64,{base64.b64encode(picture.getvalue()).decode()}"
