"""`stpa attention`: where and when the served networks look in a video."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from stpa.cli.workspace import ChallengerOption, WorkspaceOption, open_part
from stpa.params.parts import PredictParams
from stpa.results import RESULTS
from stpa.terminal import TERMINAL


def attention(
    video: Annotated[Path, typer.Argument(help="A video file.")],
    picture: Annotated[
        Path | None,
        typer.Option(help="Where to write the picture; the film goes beside it, as .mp4."),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(min=1, help="Frames to look at; default: as many as the model is judged by."),
    ] = None,
    maps: Annotated[
        int, typer.Option(min=1, help="Attention maps that get a row of their own.")
    ] = 3,
    challenger: ChallengerOption = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Draw where and when the champion looks in a video: a picture and a film."""
    from stpa.stages.attention import draw_where_it_looks

    place, params = open_part(workspace, PredictParams)
    with TERMINAL.bar(f"attention in {escape(video.name)}") as progress:
        files = draw_where_it_looks(
            place,
            params,
            video,
            picture,
            num_segments=k,
            num_maps=maps,
            challenger=challenger,
            progress=progress,
        )
    RESULTS.print(
        f"by {files.model}; picture: {escape(str(files.picture))}, film: {escape(str(files.film))}",
        soft_wrap=True,
    )
