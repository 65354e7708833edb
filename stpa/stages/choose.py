"""Choose the head that is put up for promotion, by training recordings that it has not seen."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from stpa.evaluation.fitted_fusion import surprise
from stpa.evaluation.fusion import Fusion, fuse
from stpa.shapes import Float
from stpa.stages.fuse import find_fusion, fit_held_out
from stpa.stages.held_out import HeldOut, find_held_out
from stpa.stages.plan import Plan


class Choice(NamedTuple):
    """The head that is put up for promotion, how its streams are fused, and why it is that one."""

    head: str
    fusion: Fusion
    reason: str


def choose_head(plan: Plan) -> Choice:
    """Return the head that `promotion.candidate` names or, where it is auto, the best one.

    The best one finds the labels of held-out videos likeliest, its streams fused. Of heads that
    are behind it by no more than the standard error over recordings, the one that `model.heads`
    names last is taken.
    """

    def without_comparing(head: str, reason: str) -> Choice:
        return Choice(head, find_fusion(plan, head), reason)

    named, heads = plan.config.promotion.candidate, plan.config.heads
    if named != "auto":
        return without_comparing(named, "promotion.candidate names it")
    if len(heads) == 1:
        return without_comparing(heads[0], "no other is trained")
    found = {head: find_held_out(plan, head) for head in heads}
    held_out = {head: each for head, each in found.items() if each is not None}
    if len(held_out) < len(found):
        reason = "no training videos are held out to compare heads by"
        return without_comparing(heads[0], reason)
    return _best(held_out)


def _best(held_out: Mapping[str, HeldOut]) -> Choice:
    """Compare heads by the same videos, which none has learnt from."""
    fusions = {head: fit_held_out(each) for head, each in held_out.items()}
    surprises = {head: _surprise(each, fusions[head]) for head, each in held_out.items()}
    groups = next(iter(held_out.values())).groups
    best, second, *_ = sorted(held_out, key=lambda head: surprises[head].mean())

    def lead(head: str, other: str) -> tuple[float, float]:
        return _mean_over_groups(surprises[other] - surprises[head], groups)

    def ties(head: str) -> bool:
        gain, error = lead(best, head)
        return gain <= error

    chosen = next(head for head in reversed(list(held_out)) if head == best or ties(head))
    behind = second if chosen == best else chosen
    gain, error = lead(best, behind)
    reason = (
        f"on training videos held out, {best} is ahead of {behind} by {gain:.3f} nats per video, "
        f"{'' if gain > error else 'no '}more than the standard error of {error:.3f} over "
        "recordings"
    )
    return Choice(chosen, fusions[chosen], reason)


def _surprise(held_out: HeldOut, fusion: Fusion) -> Float[np.ndarray, " videos"]:
    fused = fuse(held_out.streams, fusion)
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
