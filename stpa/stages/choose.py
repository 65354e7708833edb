"""Choose the head that is put up for promotion, by training recordings that it has not seen."""

from typing import NamedTuple

import numpy as np

from stpa.config import Config, Stream
from stpa.data.manifest import read_manifest
from stpa.evaluation.fitted_fusion import surprise
from stpa.evaluation.fusion import fuse
from stpa.shapes import Float
from stpa.stages.fuse import find_fusion
from stpa.stages.held_out import find_held_out
from stpa.stages.training_job import BASELINE_HEAD, SERVED_HEAD, compared_heads
from stpa.workspace import Workspace


class Choice(NamedTuple):
    """The head that is put up for promotion, and why."""

    head: str
    reason: str


def choose_head(workspace: Workspace, config: Config) -> Choice:
    """Return the head that `promotion.candidate` names or, where it is auto, the better one.

    The better one finds the labels of held-out videos likelier, both streams fused. The simple
    average is taken unless the attention is better by more than the standard error over recordings.
    """
    named = config.promotion.candidate
    if named != "auto":
        return Choice(named, "promotion.candidate names it")
    if BASELINE_HEAD not in compared_heads(config):
        return Choice(SERVED_HEAD, "no other is trained")
    served = _surprise(workspace, config, SERVED_HEAD)
    baseline = _surprise(workspace, config, BASELINE_HEAD)
    if served is None or baseline is None:
        return Choice(SERVED_HEAD, "no training videos are held out to compare heads by")
    gain, error = _mean_over_groups(baseline[0] - served[0], served[1])
    reason = (
        f"on training videos held out, {SERVED_HEAD} is ahead of {BASELINE_HEAD} by {gain:.3f} "
        f"nats per video, with a standard error of {error:.3f} over recordings"
    )
    return Choice(SERVED_HEAD if gain > error else BASELINE_HEAD, reason)


def _surprise(
    workspace: Workspace, config: Config, head: str
) -> tuple[Float[np.ndarray, " videos"], list[str]] | None:
    """Return the surprise by each held-out video, and its recording; None where there are none."""
    if not config.fits_fusion:
        return None
    rgb, flow = (find_held_out(workspace, config, stream, head) for stream in Stream)
    if rgb is None or flow is None:
        return None
    fused = fuse(rgb, flow, find_fusion(workspace, config, head))
    [logits] = fused.logits.values()
    videos = {video.video_id: video for video in read_manifest(workspace.manifest).videos}
    return surprise(logits, fused), [videos[video_id].group for video_id in fused.video_ids]


def _mean_over_groups(
    values: Float[np.ndarray, " videos"], groups: list[str]
) -> tuple[float, float]:
    """Return the mean, and its standard error where the videos of a group go together."""
    names, places = np.unique(groups, return_inverse=True)
    if len(names) == 1:
        return float(values.mean()), np.inf
    sums = np.bincount(places, weights=values - values.mean())
    variance = np.square(sums).sum() * len(names) / (len(names) - 1)
    return float(values.mean()), float(np.sqrt(variance) / len(values))
