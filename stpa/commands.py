"""Commands for a person to run next, which work as they are printed."""

import os
import shlex
import shutil
import sys
from pathlib import Path

from stpa.workspace import Workspace


def stpa_command(workspace: Workspace, name: str, *arguments: str | Path) -> str:
    """Return the line that runs a command of this program on `workspace`, quoted for a shell.

    Both are named as they were by whoever started this process: in the same folder, the line works.
    """
    root = [] if workspace.root == Path() else ["-w", str(workspace.root)]
    return shlex.join([_program(), name, *map(str, arguments), *root])


def init_command(workspace: Workspace, params: Path) -> str:
    """Return the line that gives `workspace` the values of a params file, as `stpa_command`."""
    return shlex.join([_program(), "init", str(workspace.root), "--params", str(params)])


def open_command(path: Path) -> str | None:
    """Return the line that opens a file in the desktop's program for it; None without a desktop."""
    if sys.platform == "darwin":
        return shlex.join(["open", str(path)])
    has_desktop = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return shlex.join(["xdg-open", str(path)]) if has_desktop and shutil.which("xdg-open") else None


def _program() -> str:
    """Return how this program was called, or its name alone where the shell finds it by that."""
    called = Path(sys.argv[0])
    found = shutil.which(called.name)
    return called.name if found and Path(found).resolve() == called.resolve() else str(called)
