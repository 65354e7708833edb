"""Choose the head that is put up for promotion, by training recordings that it has not seen."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stpa.config import Config
from stpa.evaluation.fitted_fusion import surprise
from stpa.evaluation.fusion import Fusion, fuse
from stpa.shapes import Float
from stpa.stages.fuse import find_fusion, fit_held_out
from stpa.stages.held_out import HeldOut, find_held_out
from stpa.stages.training_job import BASELINE_HEAD, SERVED_HEAD, compared_heads
from stpa.workspace import Workspace


class Choice(NamedTuple):
    """The head that is put up for promotion, how its streams are fused, and why it is that one."""

    head: str
    fusion: Fusion
    reason: str


def choose_head(workspace: Workspace, config: Config) -> Choice:
    """Return the head that `promotion.candidate` names or, where it is auto, the better one.

    The better one finds the labels of held-out videos likelier, both streams fused. The simple
    average is taken unless the attention is better by more than the standard error over recordings.
    """

    def without_comparing(head: str, reason: str) -> Choice:
        return Choice(head, find_fusion(workspace, config, head), reason)

    named = config.promotion.candidate
    if named != "auto":
        return without_comparing(named, "promotion.candidate names it")
    if BASELINE_HEAD not in compared_heads(config):
        return without_comparing(SERVED_HEAD, "no other is trained")
    if config.fits_fusion:
        served, baseline = (
            find_held_out(workspace, config, head) for head in (SERVED_HEAD, BASELINE_HEAD)
        )
        if served and baseline:
            return _better(served, baseline)
    return without_comparing(SERVED_HEAD, "no training videos are held out to compare heads by")


def _better(served: HeldOut, baseline: HeldOut) -> Choice:
    """Compare two heads by the same videos, which neither has learnt from."""
    fusions = {SERVED_HEAD: fit_held_out(served), BASELINE_HEAD: fit_held_out(baseline)}
    lead = _surprise(baseline, fusions[BASELINE_HEAD]) - _surprise(served, fusions[SERVED_HEAD])
    gain, error = _mean_over_groups(lead, served.groups)
    is_ahead = gain > error
    head = SERVED_HEAD if is_ahead else BASELINE_HEAD
    reason = (
        f"on training videos held out, {SERVED_HEAD} is ahead of {BASELINE_HEAD} by {gain:.3f} "
        f"nats per video, {'' if is_ahead else 'no '}more than the standard error of {error:.3f} "
        "over recordings"
    )
    return Choice(head, fusions[head], reason)


def _surprise(held_out: HeldOut, fusion: Fusion) -> Float[np.ndarray, " videos"]:
    fused = fuse(held_out.rgb, held_out.flow, fusion)
    [logits] = fused.logits.values()
    return surprise(logits, fused)


def _mean_over_groups(
    values: Float[np.ndarray, " videos"], groups: Sequence[str]
) -> tuple[float, float]:
    """Return the mean, and its standard error where the videos of a group go together."""
    names, places = np.unique(groups, return_inverse=True)
    if len(names) == 1:
        return float(values.mean()), np.inf
    sums = np.bincount(places, weights=values - values.mean())
    variance = np.square(sums).sum() * len(names) / (len(names) - 1)
    return float(values.mean()), float(np.sqrt(variance) / len(values))
