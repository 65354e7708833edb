"""`stpa init`: make a workspace, or change or upgrade the parameters of one."""

from pathlib import Path
from typing import Annotated

import typer

from stpa.errors import ConfigError
from stpa.presets import DEFAULT, preset_path
from stpa.results import show_changes, show_initialised, show_presets
from stpa.workspace import Workspace


def init(
    folder: Annotated[
        Path | None, typer.Argument(help="The workspace: a new folder, or one that is there.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help=f"The parameters to start from; default: {DEFAULT}.")
    ] = None,
    params: Annotated[
        Path | None,
        typer.Option(
            help="A params file to start from instead. If it extends the workspace's params.yaml, "
            "as a search's result does, it changes that."
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace an edited params.yaml; a copy is kept.")
    ] = False,
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="Bring the files of an older stpa up to date.")
    ] = False,
    show_list: Annotated[bool, typer.Option("--list", help="List the presets.")] = False,
) -> None:
    """Make a workspace: params.yaml (whole, with its comments) and dvc.yaml."""
    _require_at_most_one(preset=preset, params=params, upgrade=upgrade, list=show_list)
    if show_list:
        show_presets()
        return
    if folder is None:
        raise ConfigError("no folder is named: `stpa init my_project`, or `stpa init --list`")
    if upgrade:
        _upgrade(folder)
    else:
        _initialise(folder, params or preset_path(preset or DEFAULT), replace=replace)


def _require_at_most_one(**choices: object) -> None:
    given = [f"--{name}" for name, value in choices.items() if value]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} exclude each other: give one of them")


def _initialise(folder: Path, params: Path, *, replace: bool) -> None:
    from stpa.stages.initialise import ReplacementError, initialise

    workspace = Workspace(folder)
    try:
        done = initialise(workspace, params, replace=replace)
    except ReplacementError as error:
        show_changes(error.changes)
        raise
    show_initialised(workspace, done)


def _upgrade(folder: Path) -> None:
    from stpa.stages.upgrade import upgrade_workspace

    workspace = Workspace(folder)
    show_initialised(workspace, upgrade_workspace(workspace))
