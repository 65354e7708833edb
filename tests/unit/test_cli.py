"""The command line's own text and its last resort for errors."""

import errno
import os
import sys

import pytest
from typer.main import get_command

from stpa import cli
from stpa.cli import app
from stpa.errors import ConfigError
from tests.workspaces import make_workspace, small_params

COMMANDS = getattr(get_command(app), "commands")  # noqa: B009


def test_there_is_a_command_for_each_stage_and_service():
    wanted = "init doctor ingest extract train evaluate fuse promote rollback retrain predict ui"
    assert set(COMMANDS) == set(wanted.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_says_what_it_does(name):
    assert COMMANDS[name].help
    for parameter in COMMANDS[name].params:
        if parameter.param_type_name == "option" and not parameter.name.endswith("port"):
            assert parameter.help, parameter.name


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/a.avi"),
            "error: no space is left at /data/a.avi: free some and run the same command again\n",
        ),
        (
            RuntimeError("[red]two\nlines"),
            "error: RuntimeError: [red]two lines (stpa --debug says more)\n",
        ),
    ],
)
def test_an_unforeseen_error_is_one_line_that_leads_to_the_traceback(
    error, line, monkeypatch, capsys
):
    def fail(_arguments: list[str]) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr(sys, "argv", ["stpa"])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == 1
    assert capsys.readouterr().err == line
    monkeypatch.setattr(sys, "argv", ["stpa", "--debug"])
    with pytest.raises(type(error)):
        cli.main()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_debug_is_taken_before_and_after_the_command(place, monkeypatch, tmp_path):
    arguments = ["rollback", f"--workspace={tmp_path}"]
    arguments.insert(place, "--debug")
    monkeypatch.setattr(sys, "argv", ["stpa", *arguments])
    with pytest.raises(ConfigError):
        cli.main()


@pytest.mark.parametrize("command", ["train", "evaluate", "fuse"])
def test_an_unknown_head_is_told_with_the_known_ones(command, monkeypatch, tmp_path, capsys):
    workspace = make_workspace(tmp_path, small_params())
    monkeypatch.setattr(
        sys, "argv", ["stpa", command, "--head", "x", "--workspace", str(workspace.root)]
    )
    with pytest.raises(SystemExit):
        cli.main()
    told = capsys.readouterr().err
    assert told == "error: no head 'x' is compared here: choose from stpa, tsn\n"
