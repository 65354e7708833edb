"""Fuse the two streams' scores files; pure arithmetic, so nothing of it is kept but figures."""

import logging

from stpa.config import Config, Stream
from stpa.evaluation import fusion
from stpa.evaluation.fitted_fusion import EVEN, fit_fusion
from stpa.evaluation.fusion import FITTED, Fusion
from stpa.evaluation.scores import Scores
from stpa.stages.evaluate import find_scores
from stpa.stages.held_out import find_held_out, num_recordings
from stpa.workspace import Workspace

logger = logging.getLogger(__name__)


def fuse(workspace: Workspace, config: Config, head: str) -> Scores:
    """Return the fused scores of both evaluated streams at every K."""
    rgb, flow = (find_scores(workspace, config, stream, head) for stream in Stream)
    return fusion.fuse(rgb, flow, find_fusion(workspace, config, head))


def find_fusion(workspace: Workspace, config: Config, head: str) -> Fusion:
    """Return the rule that params.yaml names; where it is fitted, with the weights for a head."""
    if not config.fits_fusion:
        return Fusion(config.evaluate.late_fusion)
    rgb, flow = (find_held_out(workspace, config, stream, head) for stream in Stream)
    if rgb is None or flow is None:
        logger.warning("no recording can be spared to weigh the streams by: they count alike")
        return Fusion(FITTED, EVEN)
    return fit_fusion(rgb, flow, num_recordings(workspace, rgb))
