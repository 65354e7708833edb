"""`stpa search`: the parameters that a network trains best with."""

from pathlib import Path
from typing import Annotated

import typer

from stpa.cli.jobs import AttachOption, StopOption, attend_job, submit_job
from stpa.cli.workspace import (
    WorkspaceOption,
    at_work,
    chosen_heads,
    given_options,
    open_workspace,
)
from stpa.results import show_search
from stpa.terminal import TERMINAL


def search(
    space: Annotated[Path, typer.Argument(help="A space file: trials, and what to draw from.")],
    stream: Annotated[
        str | None, typer.Option(help="Default: those that the space varies.")
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(help="Default: the first of model.heads."),
    ] = None,
    attach: AttachOption = False,
    stop: StopOption = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Search the parameters that networks train best with, on the training videos alone.

    Killed and run again, it goes on where it was.
    """
    from stpa.stages.search import search as run
    from stpa.stages.search_plan import read_plan, searched_streams

    place, config = open_workspace(workspace)
    [chosen] = chosen_heads(config, head or config.heads[0])
    arguments = (str(space.resolve()), *given_options(stream=stream, head=head))
    if attend_job(place, config, "search", arguments, attach=attach, stop=stop):
        return
    plan = read_plan(space, config)
    streams = searched_streams(plan, config, stream)
    if submit_job(place, config, "search", arguments, plan):
        return
    with at_work(place, "search"):
        for each in streams:
            with TERMINAL.bar(f"search {each} {chosen}") as progress:
                result = run(place, config, plan, each, chosen, progress)
            show_search(place, result)
