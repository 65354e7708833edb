"""Name the action in a video by a registered model, and draw why."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stpa.evaluation.picture import check_format, draw_prediction, write_picture
from stpa.params.parts import PredictParams
from stpa.stages.registered import explain_file
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
    """Classify one file by the champion, or by the latest challenger, and draw the prediction."""
    picture = picture or workspace.report.parent / "predictions" / f"{video.stem}.png"
    check_format(picture)
    explanation, model = explain_file(workspace, params, video, challenger=challenger)
    write_picture(picture, draw_prediction(explanation, video.name, f"by {model}"))
    probabilities = tuple(explanation.answer().tolist())
    return Prediction(explanation.class_names, probabilities, model, picture)
