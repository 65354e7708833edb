"""`stpa deploy`: what runs by itself on a workspace."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from stpa.cli.workspace import WorkspaceOption, open_workspace
from stpa.commands import stpa_command
from stpa.config import Config
from stpa.flows.server import start_server
from stpa.local_server import MLFLOW_PORT, PREFECT_PORT
from stpa.results import RESULTS
from stpa.workspace import Workspace, require_room


def deploy(
    serve: Annotated[
        bool,
        typer.Option("--serve", help="Also run what is due, on this machine, until Ctrl-C."),
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option(help="A file like infra/prefect.yaml, to run at other times. Default: that."),
    ] = None,
    mlflow_port: Annotated[int, typer.Option(min=1, max=65535)] = MLFLOW_PORT,
    prefect_port: Annotated[int, typer.Option(min=1, max=65535)] = PREFECT_PORT,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Register retrainings by night and upon new videos at Prefect's server.

    It is that of PREFECT_API_URL, or the workspace's own. Registered again, they stay as they are.
    """
    place, config = open_workspace(workspace)
    require_room(place)
    if serve:
        _serve(place, config, file, mlflow_port=mlflow_port, prefect_port=prefect_port)
    else:
        _register(place, file)


def _register(workspace: Workspace, file: Path | None) -> None:
    server = start_server(workspace.prefect)
    from stpa.flows.deployments import DEFAULT_FILE
    from stpa.flows.deployments import deploy as run

    with server:
        deployed = run(workspace, file or DEFAULT_FILE)
    for each in deployed:
        _say(f"{each.name}: {each.change}, {each.when}")
    _say(f"they run while this runs:\n  {stpa_command(workspace, 'deploy', '--serve')}")
    for pool in sorted({each.pool for each in deployed}):
        _say(
            f"or, at a server of your own, on machines that have the workspace:\n"
            f"  prefect worker start --pool {pool}"
        )


def _serve(
    workspace: Workspace, config: Config, file: Path | None, *, mlflow_port: int, prefect_port: int
) -> None:
    from stpa.flows.serving import serve

    def announce(name: str, address: str) -> None:
        _say(f"{name + ':':8} {address}")

    serve(
        workspace,
        config.tracking,
        file,
        announce,
        _say,
        mlflow_port=mlflow_port,
        prefect_port=prefect_port,
    )


def _say(line: str) -> None:
    RESULTS.print(escape(line), soft_wrap=True, highlight=False)
