"""How every command finds its workspace, and the networks that it is for."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from stpa.config import Config, Section
from stpa.errors import BusyError, ConfigError
from stpa.log_file import logging_to_file
from stpa.results import RESULTS, show_unchanged
from stpa.streams import Stream
from stpa.terminal import ON_TERMINAL
from stpa.workspace import Workspace, exclusive

Part = TypeVar("Part", bound=Section)

logger = logging.getLogger(__name__)

WorkspaceOption = Annotated[
    Path,
    typer.Option("--workspace", "-w", help="The folder that holds params.yaml and all results."),
]
HeadOption = Annotated[str | None, typer.Option(help="One of model.heads; default: all.")]
StreamOption = Annotated[str | None, typer.Option(help="One of train.streams; default: all.")]
ChallengerOption = Annotated[
    bool, typer.Option("--challenger", help="Use the latest candidate, even a rejected one.")
]


def open_workspace(root: Path) -> tuple[Workspace, Config]:
    """Read the parameters of the workspace at `root`; raises ConfigError."""
    from stpa.params import load_config

    workspace = Workspace(root)
    return workspace, load_config(workspace.params)


def open_part(root: Path, part: type[Part]) -> tuple[Workspace, Part]:
    """Read a part of the parameters (`stpa.params.parts`) alone; raises ConfigError."""
    from stpa.params import load_part

    workspace = Workspace(root)
    return workspace, load_part(workspace.params, part)


@contextmanager
def at_work(workspace: Workspace, command: str) -> Iterator[None]:
    """Keep every other process from changing the workspace (`exclusive`), and write a log file
    there, with what the command answers within the block.
    """
    with exclusive(workspace), logging_to_file(workspace.logs, command):
        yield
        if answer := RESULTS.export_text().rstrip():
            logger.info("answered:\n%s", answer, extra=ON_TERMINAL)


def answer_unchanged(workspace: Workspace, source: Path | None) -> bool:
    """Tell where a retraining would change nothing, before anything starts for it."""
    from stpa.stages.unchanged import find_unchanged, record_path

    if not record_path(workspace).exists():
        return False
    from stpa.stages.delivery import deliver_notices

    try:
        with exclusive(workspace):
            last = find_unchanged(workspace, source)
            if last is None:
                return False
            deliver_notices(workspace)
    except BusyError:  # which may be a cluster's job that the command is to follow
        return False
    show_unchanged(last, record_path(workspace))
    return True


def chosen_heads(config: Config, wanted: str | None) -> list[str]:
    """Return the `wanted` head, or all of them; raises ConfigError."""

    if wanted is None:
        return list(config.heads)
    if wanted not in config.heads:
        raise ConfigError(
            f"no head {wanted!r} is in model.heads: choose from {', '.join(config.heads)}"
        )
    return [wanted]


def chosen_streams(config: Config, wanted: str | None) -> list[Stream]:
    """Return the stream named `wanted`, or all that are trained; raises ConfigError."""
    streams = [stream for stream in config.streams if wanted in (None, stream.name)]
    if not streams:
        known = ", ".join(map(str, config.streams))
        raise ConfigError(f"no stream {wanted!r} is in train.streams: choose from {known}")
    return streams


def given_options(**values: str | None) -> tuple[str, ...]:
    """Return the options that are not left out, as one would give them on the command line."""
    return tuple(f"--{name}={value}" for name, value in values.items() if value)
