"""Fuse the streams' scores files; pure arithmetic, so nothing of it is kept but figures."""

import logging

from stpa.evaluation import fusion
from stpa.evaluation.fitted_fusion import even_fusion, fit_fusion
from stpa.evaluation.fusion import Fusion
from stpa.evaluation.scores import Scores
from stpa.stages.evaluate import find_scores
from stpa.stages.held_out import HeldOut, find_held_out
from stpa.stages.plan import Plan

logger = logging.getLogger(__name__)


def fuse(plan: Plan, head: str) -> Scores:
    """Return the fused scores of all evaluated streams at every K."""
    return fuse_by(find_fusion(plan, head), plan, head)


def fuse_by(rule: Fusion, plan: Plan, head: str) -> Scores:
    """Do as `fuse` by a rule that is known."""
    return fusion.fuse([find_scores(network) for network in plan.of_head(head)], rule)


def find_fusion(plan: Plan, head: str) -> Fusion:
    """Return the rule that params.yaml names; where it is fitted, with the weights for a head."""
    if not plan.config.fits_fusion:
        return Fusion(plan.config.evaluate.late_fusion)
    held_out = find_held_out(plan, head)
    if held_out is not None:
        return fit_held_out(held_out)
    logger.warning("no recording can be spared to weigh the streams by: they count alike")
    return even_fusion([stream.name for stream in plan.config.streams])


def fit_held_out(held_out: HeldOut) -> Fusion:
    """Weigh the streams by the training videos that were held out."""
    return fit_fusion(held_out.streams, len(set(held_out.groups)))
