"""Draw the places that decided: the evidence of each stream over the frames it looked at."""

from pathlib import Path

import numpy as np

from stpa.evaluation.predict import StreamEvidence
from stpa.files import atomic_path
from stpa.shapes import Float, UInt8

FRAMES_SHOWN = 6
TITLES = {"rgb": "RGB", "flow": "optical flow"}


def draw_evidence(path: Path, title: str, streams: dict[str, StreamEvidence]) -> None:
    """Write a picture: a row a stream, frames from first to last, the evidence as heat.

    Heat is evidence for the class alone, relative to the stream's strongest place in any frame.
    The format follows the suffix of `path`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.1 * FRAMES_SHOWN, 2.4 * len(streams) + 0.6), layout="constrained")
    axes = figure.subplots(len(streams), FRAMES_SHOWN, squeeze=False)
    for row, (stream, seen) in zip(axes, streams.items(), strict=True):
        num_frames = len(seen.frames)
        shown = np.linspace(0, num_frames - 1, FRAMES_SHOWN).round().astype(int)
        strongest = max(float(seen.evidence.max()), np.finfo(float).tiny)
        for axis, index in zip(row, shown, strict=True):
            frame = seen.frames[index]
            axis.imshow(_heat(frame, seen.evidence[index].clip(min=0) / strongest))
            axis.set_title(f"{index + 1} of {num_frames}", fontsize=8)
            axis.set_xticks([])
            axis.set_yticks([])
        row[0].set_ylabel(TITLES[stream])
    figure.suptitle(title, parse_math=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _heat(
    frame: UInt8[np.ndarray, "height width 3"], share: Float[np.ndarray, "rows columns"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Lay the evidence, in [0, 1], over a greyed frame: nothing shows the frame alone."""
    import cv2
    from matplotlib import colormaps

    height, width = frame.shape[:2]
    smooth = cv2.resize(share.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    smooth = smooth.clip(0, 1)[..., None]
    heat = 255 * colormaps["inferno"](smooth[..., 0])[..., :3]
    grey = frame.mean(axis=2, keepdims=True).repeat(3, axis=2)
    return ((1 - 0.7 * smooth) * grey + 0.7 * smooth * heat).astype(np.uint8)
