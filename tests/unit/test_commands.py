"""Printed commands, run by a real shell."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stpa.commands import open_command, stpa_command
from stpa.workspace import Workspace

ODD = "it's $HOME; *"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a program that prints its arguments below the current folder, and be it."""
    folder = tmp_path / "a b"
    folder.mkdir()
    (folder / "stpa").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (folder / "stpa").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["a b/stpa", "retrain"])
    return folder


def run(line: str) -> list[str]:
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("root", ["ws", ODD, "../ws"])
def test_a_line_reaches_the_program_as_it_is_meant(program: Path, root: str) -> None:
    line = stpa_command(Workspace(Path(root)), "predict", Path(root) / ODD, "--challenger")
    assert run(line) == ["predict", f"{root}/{ODD}", "--challenger", "-w", root]


def test_the_current_folder_need_not_be_named(program: Path) -> None:
    assert run(stpa_command(Workspace(Path()), "ui")) == ["ui"]


def test_a_program_that_the_shell_finds_is_named_alone(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stpa_command(Workspace(Path()), "ui") == "'a b/stpa' ui"
    monkeypatch.setenv("PATH", f"{program}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sys, "argv", [str(program / "stpa")])
    line = stpa_command(Workspace(Path()), "ui")
    assert line == "stpa ui"
    assert run(line) == ["ui"]


def test_another_program_of_the_same_name_is_not_meant(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stpa").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert stpa_command(Workspace(Path()), "ui") == "'a b/stpa' ui"


def test_a_file_is_opened_only_on_a_desktop(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    (program / "stpa").rename(program / "xdg-open")
    monkeypatch.setenv("PATH", f"{program}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    assert open_command(Path(ODD)) is None
    monkeypatch.setenv("DISPLAY", ":0")
    line = open_command(Path(ODD))
    assert line is not None
    assert run(line) == [ODD]
    monkeypatch.setenv("PATH", str(program.parent))
    assert open_command(Path(ODD)) is None
