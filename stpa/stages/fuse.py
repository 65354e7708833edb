"""Fuse the two streams' scores files; pure arithmetic, so nothing of it is kept but figures."""

from stpa.config import Config, Stream
from stpa.evaluation import fusion
from stpa.evaluation.scores import Scores
from stpa.stages.evaluate import find_scores
from stpa.workspace import Workspace


def fuse(workspace: Workspace, config: Config, head: str) -> Scores:
    """Return the fused scores of both evaluated streams at every K."""
    rgb, flow = (find_scores(workspace, config, stream, head) for stream in Stream)
    return fusion.fuse(rgb, flow, config.evaluate.late_fusion)
