"""Draw where and when a registered model's networks look in a video."""

from pathlib import Path
from typing import NamedTuple

from stpa.errors import ConfigError, ModelError
from stpa.evaluation.picture import (
    check_format,
    draw_attention,
    draw_film,
    write_film,
    write_picture,
)
from stpa.params.parts import PredictParams
from stpa.progress import ReportProgress, silent
from stpa.stages.registered import explain_file
from stpa.workspace import Workspace


class AttentionFiles(NamedTuple):
    """What was written, and of which model."""

    picture: Path
    film: Path
    model: str


def draw_where_it_looks(
    workspace: Workspace,
    params: PredictParams,
    video: Path,
    picture: Path | None = None,
    *,
    num_segments: int | None,
    num_maps: int,
    challenger: bool = False,
    progress: ReportProgress = silent,
) -> AttentionFiles:
    """Write a picture of the attention in one file, and a film of it beside the picture.

    Raises ModelError where a network's head has no maps.
    """
    picture = picture or workspace.report.parent / "attention" / f"{video.stem}.png"
    check_format(picture)
    film = picture.with_suffix(".mp4")
    if film.resolve() == video.resolve():
        raise ConfigError(f"the film would replace the video {video}: give another --picture")
    explanation, model = explain_file(
        workspace, params, video, challenger=challenger, num_segments=num_segments
    )
    if any(seen.attention is None for seen in explanation.streams.values()):
        raise ModelError(
            f"the head of {model} has no attention to draw, as it counts all frames alike: "
            "`stpa predict` draws the evidence in them; promotion.candidate stpa puts up the head "
            "that attends"
        )
    write_picture(picture, draw_attention(explanation, video.name, f"by {model}", num_maps))
    write_film(film, draw_film(explanation, video.name, progress))
    return AttentionFiles(picture, film, model)
