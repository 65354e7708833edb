"""Notices as lines of a file."""

from stpa.channels.base import Channel, DeliveryError
from stpa.errors import one_line
from stpa.workspace import Workspace


class File(Channel):
    """A file, relative to the workspace, that gets a line for each."""

    def check(self, setting: str) -> None:
        if not setting:
            raise ValueError("is empty: set it to null")

    def send(self, workspace: Workspace, setting: str, line: str) -> None:
        path = workspace.root / setting
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as stream:
                stream.write(f"{line}\n")
        except OSError as error:
            raise DeliveryError(f"{path}: {one_line(error)}") from error
