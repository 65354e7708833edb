"""`stpa data`: datasets before they are ingested, and versions of them."""

from pathlib import Path
from typing import Annotated

import typer

from stpa.cli.workspace import WorkspaceOption, at_work, open_part, open_workspace
from stpa.params.parts import RestoreParams
from stpa.results import RESULTS, show_check
from stpa.terminal import TERMINAL

data_app = typer.Typer(
    help="Check a downloaded dataset; bring back the data of a run.", no_args_is_help=True
)


@data_app.command()
def check(
    source: Annotated[
        Path | None,
        typer.Argument(help="The downloaded folder; default: data.source, else data/videos."),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Its kind; default: data.dataset.")] = None,
    split: Annotated[
        int | None, typer.Option(min=1, help="Which of its lists; default: data.split, else 1.")
    ] = None,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Say which videos of a dataset's own lists a download lacks.

    With SOURCE and --dataset, no workspace is needed.
    """
    from stpa.data.check import check_dataset

    if source is None or dataset is None:
        place, config = open_workspace(workspace)
        if source is None:
            source = place.root / config.data.source if config.data.source else place.videos
        dataset = dataset or config.data.dataset
        split = split or config.data.split
    result = check_dataset(source, dataset, split or 1)
    show_check(result)
    if not result.complete:
        raise typer.Exit(1)


@data_app.command()
def restore(
    run: Annotated[str, typer.Argument(help="The id of a training or fusion run in MLflow.")],
    workspace: WorkspaceOption = Path(),
) -> None:
    """Make the workspace hold exactly the data that a run used: videos, manifest, optical flow.

    What it lacks comes from the DVC remote. Videos that no version has are never overwritten;
    optical flow may be.
    """
    from stpa.stages.restore import restore as run_restore

    place, params = open_part(workspace, RestoreParams)
    with at_work(place, "restore"):
        with TERMINAL.console.status("fetching what is not here"):
            version = run_restore(place, params, run)
        RESULTS.print(f"{place.root} holds data version {version.id}")
