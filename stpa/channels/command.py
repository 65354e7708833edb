"""Notices on the standard input of a command."""

import shlex
import subprocess

from stpa.channels.base import Channel, DeliveryError
from stpa.errors import one_line
from stpa.workspace import Workspace

COMMAND_SECONDS = 60.0


class Command(Channel):
    """A command line, run without a shell in the workspace."""

    def check(self, setting: str) -> None:
        try:
            parts = shlex.split(setting)
        except ValueError as error:
            raise ValueError(f"is no command line: {error}") from error
        if not parts:
            raise ValueError("is empty: set it to null")

    def send(self, workspace: Workspace, setting: str, line: str) -> None:
        try:
            done = subprocess.run(
                shlex.split(setting),
                input=f"{line}\n".encode(),
                cwd=workspace.root,
                capture_output=True,
                timeout=COMMAND_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DeliveryError(f"`{setting}`: {one_line(error)}") from error
        if done.returncode:
            told = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise DeliveryError(f"`{setting}` exits with {done.returncode}: {''.join(told)}")
