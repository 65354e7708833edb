"""Name the action in a video by the champion, and draw the places that decided."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stpa.data.probe import probe_videos
from stpa.data.storage import Folder
from stpa.errors import DataError
from stpa.evaluation.judging import judging_of
from stpa.evaluation.picture import check_format, draw_evidence
from stpa.evaluation.predict import Classifier, describe_video
from stpa.models.checkpoint import load_model
from stpa.params.parts import PredictParams
from stpa.registry.aliases import find_champion
from stpa.registry.candidate import read_serving
from stpa.registry.tracking import open_tracker
from stpa.workspace import Workspace


@dataclass(frozen=True)
class Prediction:
    """The classes of one video with their probabilities."""

    class_names: tuple[str, ...]
    probabilities: tuple[float, ...]
    model: str
    """Name and version of the champion."""
    picture: Path

    def best(self, count: int) -> list[tuple[str, float]]:
        """Return the `count` likeliest classes, the best first."""
        order = np.argsort(self.probabilities)[::-1][:count]
        return [(self.class_names[index], self.probabilities[index]) for index in order]


def predict(
    workspace: Workspace, params: PredictParams, video: Path, picture: Path | None = None
) -> Prediction:
    """Classify one file by the registered champion, and draw it.

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
    champion = find_champion(tracker, params.promotion.model_name)
    model = tracker.download_model(champion, workspace.registered)
    serving = read_serving(model.serving, f"{champion.name} version {champion.number}")
    classifier = Classifier(
        {stream: load_model(folder) for stream, folder in model.networks.items()},
        late_fusion=serving.late_fusion,
        num_segments=serving.num_segments,
        num_crops=serving.num_crops,
        optical_flow=serving.optical_flow.model_dump(),
    )
    explanation = classifier.explain(described, Folder(video.parent))
    probabilities = judging_of(classifier.multi_label).probabilities(explanation.scores)
    best = int(probabilities.argmax())
    title = f"{video.name}: {serving.class_names[best]} ({probabilities[best]:.2f})"
    draw_evidence(picture, title, explanation)
    return Prediction(
        class_names=serving.class_names,
        probabilities=tuple(probabilities.tolist()),
        model=f"{champion.name} version {champion.number}",
        picture=picture,
    )
