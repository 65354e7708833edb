"""The command line's own text and its last resort for errors."""

import errno
import os
import sys

import pytest
from typer.main import get_command

from stpa import cli
from stpa.cli import app

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
    def fail() -> None:
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
