"""Name the actions in videos by a registered model, and draw why."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stpa.evaluation.picture import check_format, draw_prediction, write_picture
from stpa.params.parts import PredictParams
from stpa.progress import Pace, ReportProgress, format_duration, silent
from stpa.serving.result import Result
from stpa.serving.sources import Source, describe_sources
from stpa.stages.registered import explain_file
from stpa.workspace import Workspace

if TYPE_CHECKING:
    from stpa.serving.classifier import Classifier


@dataclass(frozen=True)
class Prediction:
    """The classes of one video with their probabilities."""

    class_names: tuple[str, ...]
    probabilities: tuple[float, ...]
    model: str
    """Name and version of the registered model, and whether it is champion or challenger."""
    picture: Path | None
    """None where none was wanted."""

    def best(self, count: int) -> list[tuple[str, float]]:
        """Return the `count` likeliest classes, the best first."""
        order = np.argsort(self.probabilities)[::-1][:count]
        return [(self.class_names[index], self.probabilities[index]) for index in order]


def predict(
    workspace: Workspace,
    params: PredictParams,
    video: str | Path,
    picture: Path | None = None,
    *,
    reference: str | None = None,
    challenger: bool = False,
    draw: bool = True,
) -> Prediction:
    """Classify one video by the champion, the latest challenger or the model `reference` names.

    The prediction is drawn at `picture`, or next to the report, unless `draw` is false.
    """
    [source] = describe_sources([video])
    if draw:
        picture = picture or workspace.report.parent / "predictions" / f"{source.stem}.png"
        check_format(picture)
    explanation, model = explain_file(
        workspace, params, video, reference=reference, challenger=challenger
    )
    if draw and picture is not None:
        write_picture(picture, draw_prediction(explanation, source.file_name, f"by {model}"))
    probabilities = tuple(explanation.answer().tolist())
    return Prediction(explanation.class_names, probabilities, model, picture if draw else None)


def predict_each(
    classifier: "Classifier",
    sources: Sequence[Source],
    threshold: float | None = None,
    pictures: Mapping[Source, Path] | None = None,
    progress: ReportProgress = silent,
) -> Iterator[tuple[Source, Result]]:
    """Yield each source with its result as it is done, and its picture drawn if it has one."""
    pace, num_failed = Pace(), 0
    pace.add(time.monotonic(), 0)
    results = classifier.classify(sources, threshold, explain=bool(pictures))
    for done, (source, result) in enumerate(results, start=1):
        if pictures and result.explanation is not None:
            figure = draw_prediction(result.explanation, source.file_name, f"by {classifier.title}")
            write_picture(pictures[source], figure)
        num_failed += result.error is not None
        pace.add(time.monotonic(), done)
        progress(done, len(sources), _details(pace, len(sources) - done, num_failed))
        yield source, result


def name_pictures(sources: Iterable[Source], folder: Path) -> dict[Source, Path]:
    """Return where each source's picture goes: by its name, with a number where that is taken."""
    counts: Counter[str] = Counter()
    pictures = {}
    for source in sources:
        counts[source.stem] += 1
        number = counts[source.stem]
        pictures[source] = folder / f"{source.stem}{f'-{number}' if number > 1 else ''}.png"
    return pictures


def _details(pace: Pace, num_left: int, num_failed: int) -> dict[str, str]:
    details = {}
    if pace.per_second:
        details["videos/s"] = f"{pace.per_second:.2g}"
    if (left := pace.seconds_for(num_left)) is not None:
        details["time left"] = format_duration(left)
    if num_failed:
        details["not read"] = str(num_failed)
    return details
