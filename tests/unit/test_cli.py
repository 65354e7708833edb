"""The command line's own text and its last resort for errors."""

import errno
import os
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from stpa import cli
from stpa.cli import app
from stpa.errors import ConfigError
from tests.workspaces import make_workspace, small_params

COMMANDS: dict[str, Any] = getattr(get_command(app), "commands")  # noqa: B009
COMMANDS |= {f"data {name}": command for name, command in COMMANDS["data"].commands.items()}


def test_there_is_a_command_for_each_stage_and_service():
    wanted = (
        "init doctor ingest extract features train evaluate fuse promote rollback retrain predict "
        "attention localise search ui deploy"
    )
    assert set(COMMANDS) == {*wanted.split(), "data", "data check", "data restore"}


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


def test_the_version_is_that_of_the_package(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["stpa", "--version"])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert not exit_.value.code
    assert capsys.readouterr().out == f"stpa {version('stpa')}\n"


@pytest.mark.parametrize("place", [0, 1, 2])
def test_debug_is_taken_before_and_after_the_command(place, monkeypatch, tmp_path):
    arguments = ["rollback", f"--workspace={tmp_path}"]
    arguments.insert(place, "--debug")
    monkeypatch.setattr(sys, "argv", ["stpa", *arguments])
    with pytest.raises(ConfigError):
        cli.main()


@pytest.mark.parametrize(
    ("option", "commands", "told"),
    [
        (
            "--head",
            ("train", "evaluate", "fuse", "localise"),
            "no head 'x' is in model.heads: choose from stpa, tsn",
        ),
        (
            "--stream",
            ("train", "evaluate", "localise"),
            "no stream 'x' is in train.streams: choose from rgb, flow",
        ),
    ],
)
def test_an_unknown_name_is_told_with_the_known_ones(
    option, commands, told, monkeypatch, tmp_path, capsys
):
    workspace = make_workspace(tmp_path, small_params())
    for command in commands:
        arguments = ["stpa", command, option, "x", "--workspace", str(workspace.root)]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit):
            cli.main()
        assert capsys.readouterr().err == f"error: {told}\n"


@pytest.fixture
def download(tmp_path) -> Path:
    """Give a folder with a list of three videos, one of which is there."""
    rows = ["path,label,split", "a[b].avi,[bold],train", "c.avi,swim,test", "[d].avi,swim,train"]
    (tmp_path / "videos.csv").write_text("\n".join(rows))
    (tmp_path / "a[b].avi").write_text("x")
    (tmp_path / "[e].avi").touch()
    return tmp_path


def check(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["stpa", "data", "check", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


def test_a_download_is_checked_without_a_workspace(download, monkeypatch, capsys):
    assert check(monkeypatch, download, "--dataset", "csv") == 1
    told = capsys.readouterr().out.splitlines()
    assert [line.replace("│", " ").split() for line in told if "│" in line] == [["swim", "2", "2"]]
    assert told[-3:] == [
        "1 of 3 listed videos are there",
        "2 missing: '[d].avi', 'c.avi'",
        "1 on no list: '[e].avi'",
    ]


def test_a_complete_download_passes(download, monkeypatch, capsys):
    for name in ("c.avi", "[d].avi"):
        (download / name).write_text("x")
    assert check(monkeypatch, download, "--dataset", "csv") == 0
    assert capsys.readouterr().out.startswith("3 of 3 listed videos are there\n")


def test_lists_that_disagree_with_themselves_do_not_pass(download, monkeypatch, capsys):
    for name in ("c.avi", "[d].avi"):
        (download / name).write_text("x")
    with (download / "videos.csv").open("a") as stream:
        stream.write("\nc.avi,swim,train")
    assert check(monkeypatch, download, "--dataset", "csv") == 1
    assert "the lists: 'c.avi' is listed twice" in capsys.readouterr().out


@pytest.mark.parametrize("configured", [True, False])
def test_what_is_not_said_of_a_download_comes_from_the_workspace(
    configured, download, tmp_path, monkeypatch, capsys
):
    source = {"source": str(download)} if configured else {}
    root = tmp_path / "work"
    workspace = make_workspace(root, small_params(data={"dataset": "csv", "split": 1} | source))
    if not configured:
        shutil.copytree(download, workspace.videos, ignore=shutil.ignore_patterns("work"))
    assert check(monkeypatch, "--workspace", root) == 1
    assert "2 missing: '[d].avi', 'c.avi'" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["train"], ["retrain"], ["search", "renamed.yaml"]])
@pytest.mark.parametrize("option", ["--attach", "--stop"])
def test_without_a_jobs_api_there_is_no_job_to_follow(
    command, option, monkeypatch, tmp_path, capsys
):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    workspace = make_workspace(tmp_path, small_params())
    monkeypatch.setattr(sys, "argv", ["stpa", *command, option, f"--workspace={workspace.root}"])
    with pytest.raises(SystemExit):
        cli.main()
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith("compute.address is null: a cluster's Jobs API is http://host:8265")
