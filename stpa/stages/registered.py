"""The registered model that explains one video file: the champion, or the latest challenger."""

import logging
from pathlib import Path
from typing import NamedTuple

from stpa.config import DecodeConfig
from stpa.data.manifest import Video
from stpa.data.probe import Probe, probe_videos
from stpa.data.storage import Folder
from stpa.errors import DataError
from stpa.evaluation.explain import Explanation
from stpa.evaluation.predict import Classifier, describe_video
from stpa.models.checkpoint import load_model
from stpa.params.parts import PredictParams
from stpa.registry.aliases import find_challenger, find_champion
from stpa.registry.candidate import read_serving
from stpa.registry.promotion import DECISION_TAG
from stpa.registry.tracking import open_tracker
from stpa.workspace import Workspace

logger = logging.getLogger(__name__)


class Explained(NamedTuple):
    """What a registered model says of a video, and which one it was."""

    explanation: Explanation
    model: str
    """Name and version, and whether it is champion or challenger."""


def explain_file(
    workspace: Workspace,
    params: PredictParams,
    path: Path,
    *,
    challenger: bool = False,
    num_segments: int | None = None,
) -> Explained:
    """Explain one file's prediction by the champion, or by the latest challenger.

    The file is first decoded in a process of its own: one that hangs the decoder is refused
    after `data.decode_deadline_seconds`. `num_segments` is how many frames are looked at, where
    that shall not be what the model was judged by. Raises DataError where there is no such video.
    """
    video = _probe(path, params.data)
    tracker = open_tracker(workspace, params.tracking)
    find = find_challenger if challenger else find_champion
    version = find(tracker, params.promotion.model_name)
    name = f"{version.name} version {version.number}"
    model = tracker.download_model(version, workspace.registered)
    serving = read_serving(model.serving, name)
    classifier = Classifier(
        {stream: load_model(folder) for stream, folder in model.networks.items()},
        fusion=serving.fusion,
        num_segments=num_segments or serving.num_segments,
        num_crops=serving.num_crops,
        optical_flow=serving.optical_flow.model_dump(),
    )
    decision = version.tags.get(DECISION_TAG, "not judged")
    role = f"challenger, {decision}" if challenger else "champion"
    return Explained(classifier.explain(video, Folder(path.parent)), f"{name} ({role})")


def _probe(path: Path, limits: DecodeConfig) -> Video:
    if not path.is_file():
        raise DataError(f"there is no video file {path}")
    [(_path, found)] = probe_videos([path], limits, num_processes=1)
    if isinstance(found, Probe) and found.remarks:
        logger.warning("%s: %s", path, "; ".join(found.remarks))
    return describe_video(path, found)
