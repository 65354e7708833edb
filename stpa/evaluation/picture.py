"""Draw the places that decided: the evidence of each stream over the frames it looked at."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stpa.errors import ConfigError
from stpa.evaluation.predict import Explanation, StreamEvidence
from stpa.files import atomic_path
from stpa.shapes import Float

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FRAMES_SHOWN = 6
FORMATS = (".png", ".jpg", ".jpeg", ".webp", ".svg", ".pdf")
_ROWS = {"rgb": "RGB", "flow": "optical flow"}
_CAPTION = (
    "the frames with the most evidence for the class, and their share of all of it; pink: where"
)
_HEAT = (1.0, 0.0, 0.7)
"""RGB: no skin, lawn, water or sky looks like it, and under one hue others can be told apart."""
_MOST_OPAQUE = 0.6
_TINY = 1e-12  # where nothing speaks for the class


def check_format(path: Path) -> None:
    """Raise ConfigError unless `path` ends in one of `FORMATS`."""
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(
            f"no picture can be written as {path.name!r}: end its name in {', '.join(FORMATS)}"
        )


def draw_evidence(path: Path, title: str, explanation: Explanation) -> None:
    """Write a picture: a row a stream, its frames with the most evidence in order, heat on them.

    Heat is evidence for the class alone; what speaks against it is not drawn. The format follows
    the suffix of `path`, one of `FORMATS`.
    """
    from matplotlib.figure import Figure

    streams = {
        name: explanation.streams[stream]
        for stream, name in _ROWS.items()
        if stream in explanation.streams
    }
    figure = Figure(figsize=(2.1 * FRAMES_SHOWN, 2.4 * len(streams) + 0.7), layout="constrained")
    rows = figure.subplots(len(streams), FRAMES_SHOWN, squeeze=False)
    for axes, (name, seen) in zip(rows, streams.items(), strict=True):
        _draw_stream(list(axes), seen, explanation.fps)
        axes[0].set_ylabel(name)
    figure.suptitle(title, parse_math=False)
    figure.supxlabel(_CAPTION, fontsize=9)
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(temporary, dpi=110)


def _draw_stream(axes: Sequence["Axes"], seen: StreamEvidence, fps: float) -> None:
    """Fill a row; what a short video does not fill stays empty."""
    indices, first, times_seen = np.unique(seen.indices, return_index=True, return_counts=True)
    evidence = seen.evidence[first].clip(min=0) * times_seen[:, None, None]
    by_frame = evidence.sum(axis=(1, 2))
    total, strongest = (max(float(most), _TINY) for most in (by_frame.sum(), evidence.max()))
    shown = np.sort(by_frame.argsort()[::-1][: len(axes)])
    for axis in axes:
        axis.set(xticks=[], yticks=[], frame_on=False)
    for axis, place in zip(axes, shown, strict=False):
        axis.imshow(seen.frames[first[place]])
        _lay_over(axis, evidence[place] / strongest, seen.frames.shape[1])
        when = f"{indices[place] / fps:.1f} s" if fps else f"frame {indices[place] + 1}"
        axis.set_title(f"{when}: {by_frame[place] / total:.0%}", fontsize=9)


def _lay_over(axis: "Axes", share: Float[np.ndarray, "rows columns"], side: int) -> None:
    """Lay the evidence, in [0, 1], over a square picture: nothing leaves the picture as it is.

    The square root is drawn: attention is so peaked that all but one place would be bare.
    """
    heat = np.empty((*share.shape, 4))
    heat[..., :3] = _HEAT
    heat[..., 3] = _MOST_OPAQUE * np.sqrt(share)
    extent = (-0.5, side - 0.5, side - 0.5, -0.5)
    axis.imshow(heat, extent=extent, interpolation="bilinear")
