"""Explain some test videos by the trained networks, for the report."""

import logging
from collections.abc import Sequence

from stpa.data.manifest import Video, read_manifest
from stpa.errors import StpaError
from stpa.evaluation.examples import Example, choose_examples
from stpa.evaluation.fusion import Fusion
from stpa.evaluation.predict import Classifier
from stpa.evaluation.scores import Scores
from stpa.models.checkpoint import load_model
from stpa.stages.plan import Plan
from stpa.stages.storage import flow_storage, video_storage
from stpa.stages.train import find_trained

logger = logging.getLogger(__name__)


def example_videos(plan: Plan, streams: Sequence[Scores], fused: Scores) -> list[Video]:
    """Return the one to three test videos of `choose_examples`, from the current scores."""
    videos = {video.video_id: video for video in read_manifest(plan.workspace.manifest).videos}
    chosen = choose_examples(streams, fused, plan.config.evaluate.num_segments)
    return [videos[fused.video_ids[index]] for index in chosen]


def explain_videos(plan: Plan, head: str, fusion: Fusion, videos: Sequence[Video]) -> list[Example]:
    """Explain videos by the current networks of a head, from the stored optical flow.

    That takes as long as judging them. One that cannot be explained is left out with a warning:
    the report of a long retraining does not depend on its pictures.
    """
    workspace, config = plan.workspace, plan.config
    networks = {
        network.stream.name: load_model(find_trained(network).folder)
        for network in plan.of_head(head)
    }
    classifier = Classifier(
        networks,
        fusion=fusion,
        num_segments=config.evaluate.num_segments,
        num_crops=config.evaluate.num_crops,
        optical_flow=config.optical_flow.model_dump(),
    )
    storage = video_storage(workspace, config)
    stored_flow = flow_storage(workspace, config) if config.reads_optical_flow else None
    examples = []
    for video in videos:
        try:
            explanation = classifier.explain(video, storage, stored_flow)
        except StpaError as error:
            logger.warning("the report has no picture of %s: %s", video.path, error)
        else:
            examples.append(Example(video.path, video.distinct_labels, explanation))
    return examples
