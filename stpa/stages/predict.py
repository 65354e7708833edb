"""Name the action in a video by a registered model, and draw why."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stpa.data.probe import probe_videos
from stpa.data.storage import Folder
from stpa.errors import DataError
from stpa.evaluation.picture import check_format, draw_prediction, write_picture
from stpa.evaluation.predict import Classifier, describe_video
from stpa.models.checkpoint import load_model
from stpa.params.parts import PredictParams
from stpa.registry.aliases import find_challenger, find_champion
from stpa.registry.candidate import read_serving
from stpa.registry.promotion import DECISION_TAG
from stpa.registry.tracking import open_tracker
from stpa.workspace import Workspace


@dataclass(frozen=True)
class Prediction:
    """The classes of one video with their probabilities."""

    class_names: tuple[str, ...]
    probabilities: tuple[float, ...]
    model: str
    """Name and version of the registered model, and whether it is champion or challenger."""
    picture: Path

    def best(self, count: int) -> list[tuple[str, float]]:
        """Return the `count` likeliest classes, the best first."""
        order = np.argsort(self.probabilities)[::-1][:count]
        return [(self.class_names[index], self.probabilities[index]) for index in order]


def predict(
    workspace: Workspace,
    params: PredictParams,
    video: Path,
    picture: Path | None = None,
    *,
    challenger: bool = False,
) -> Prediction:
    """Classify one file by the champion, or by the latest challenger, and draw the prediction.

    The file is first decoded in a process of its own: one that hangs the decoder is refused
    after `data.decode_deadline_seconds`.
    """
    picture = picture or workspace.report.parent / "predictions" / f"{video.stem}.png"
    check_format(picture)
    if not video.is_file():
        raise DataError(f"there is no video file {video}")
    [(_path, found)] = probe_videos([video], params.data.decode_deadline_seconds, num_processes=1)
    described = describe_video(video, found)
    tracker = open_tracker(workspace, params.tracking)
    find = find_challenger if challenger else find_champion
    version = find(tracker, params.promotion.model_name)
    model = tracker.download_model(version, workspace.registered)
    serving = read_serving(model.serving, f"{version.name} version {version.number}")
    classifier = Classifier(
        {stream: load_model(folder) for stream, folder in model.networks.items()},
        late_fusion=serving.late_fusion,
        num_segments=serving.num_segments,
        num_crops=serving.num_crops,
        optical_flow=serving.optical_flow.model_dump(),
    )
    explanation = classifier.explain(described, Folder(video.parent))
    decision = version.tags.get(DECISION_TAG, "not judged")
    role = f"challenger, {decision}" if challenger else "champion"
    name = f"{version.name} version {version.number} ({role})"
    write_picture(picture, draw_prediction(explanation, video.name, f"by {name}"))
    return Prediction(serving.class_names, tuple(explanation.answer().tolist()), name, picture)
