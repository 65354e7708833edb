"""How every command finds its workspace."""

from pathlib import Path
from typing import Annotated

import typer

from stpa.config import Config
from stpa.workspace import Workspace

WorkspaceOption = Annotated[
    Path,
    typer.Option("--workspace", "-w", help="The folder that holds params.yaml and all results."),
]


def open_workspace(root: Path) -> tuple[Workspace, Config]:
    """Read the parameters of the workspace at `root`; raises ConfigError."""
    from stpa.params import load_config

    workspace = Workspace(root)
    return workspace, load_config(workspace.params)
