"""Fuse the streams' scores files; pure arithmetic, so nothing of it is kept but figures."""

import logging

from stpa.config import Config
from stpa.evaluation import fusion
from stpa.evaluation.fitted_fusion import even_fusion, fit_fusion
from stpa.evaluation.fusion import Fusion
from stpa.evaluation.scores import Scores
from stpa.stages.evaluate import find_scores
from stpa.stages.held_out import HeldOut, find_held_out
from stpa.workspace import Workspace

logger = logging.getLogger(__name__)


def fuse(workspace: Workspace, config: Config, head: str) -> Scores:
    """Return the fused scores of all evaluated streams at every K."""
    return fuse_by(find_fusion(workspace, config, head), workspace, config, head)


def fuse_by(rule: Fusion, workspace: Workspace, config: Config, head: str) -> Scores:
    """Do as `fuse` by a rule that is known."""
    streams = [find_scores(workspace, config, stream, head) for stream in config.streams]
    return fusion.fuse(streams, rule)


def find_fusion(workspace: Workspace, config: Config, head: str) -> Fusion:
    """Return the rule that params.yaml names; where it is fitted, with the weights for a head."""
    if not config.fits_fusion:
        return Fusion(config.evaluate.late_fusion)
    held_out = find_held_out(workspace, config, head)
    if held_out is not None:
        return fit_held_out(held_out)
    logger.warning("no recording can be spared to weigh the streams by: they count alike")
    return even_fusion([stream.name for stream in config.streams])


def fit_held_out(held_out: HeldOut) -> Fusion:
    """Weigh the streams by the training videos that were held out."""
    return fit_fusion(held_out.streams, len(set(held_out.groups)))
