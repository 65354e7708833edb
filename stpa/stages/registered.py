"""The registered model that explains one video file: the champion, or the latest challenger."""

from pathlib import Path
from typing import NamedTuple

from stpa.errors import DataError
from stpa.evaluation.explain import Explanation
from stpa.params.parts import PredictParams
from stpa.serving.load import load_registered
from stpa.serving.sources import describe_sources
from stpa.workspace import Workspace


class Explained(NamedTuple):
    """What a registered model says of a video, and which one it was."""

    explanation: Explanation
    model: str
    """Name and version, and whether it is champion or challenger."""


def explain_file(
    workspace: Workspace,
    params: PredictParams,
    path: str | Path,
    *,
    reference: str | None = None,
    challenger: bool = False,
    num_segments: int | None = None,
) -> Explained:
    """Explain one video's prediction by the champion, the latest challenger or `reference`.

    It is decoded in a process of its own: one that hangs the decoder is refused after
    `data.decode_deadline_seconds`. `num_segments` is how many frames are looked at, where that
    shall not be what the model was judged by. Raises DataError where there is no such video.
    """
    [source] = describe_sources([path])
    if source.error is not None:
        raise DataError(f"there is no video file {path}")
    classifier = load_registered(
        workspace,
        params,
        reference=reference,
        challenger=challenger,
        num_segments=num_segments,
        num_processes=1,
    )
    try:
        [(_source, result)] = classifier.classify([source], explain=True)
    finally:
        classifier.close()
    if result.explanation is None:
        raise DataError(f"{path} cannot be classified: {result.error}")
    return Explained(result.explanation, classifier.title)
