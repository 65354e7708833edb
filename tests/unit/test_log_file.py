"""The log file of a command."""

import logging
import os
import sys
from pathlib import Path

import pytest

from stpa.errors import DataError, InterruptedTrainingError
from stpa.log_file import MAX_FILES, logging_to_file
from stpa.terminal import ON_TERMINAL
from stpa.version import package_version

logger = logging.getLogger("stpa.tests")


@pytest.fixture(autouse=True)
def _log_as_the_command_line_does(monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    monkeypatch.setattr(sys, "argv", ["stpa", "train", "-w", "my work"])
    caplog.set_level(logging.INFO, logger="stpa")


def only_file(folder: Path) -> str:
    [path] = folder.iterdir()
    assert path.name.endswith("-train.log")
    return path.read_text(encoding="utf-8")


def test_it_has_the_command_the_version_and_what_was_logged(tmp_path):
    with logging_to_file(tmp_path / "logs", "train"):
        logger.info("läuft")
        logger.info("done train", extra=ON_TERMINAL)
        logging.getLogger("library").warning("of a library")
    logger.info("too late")
    text = only_file(tmp_path / "logs")
    command, version, *told, end = [line.partition(": ")[2] for line in text.splitlines()]
    assert command == f"stpa train -w 'my work', in {Path.cwd()}"
    assert version.startswith(f"stpa {package_version()}, Python 3")
    assert told == ["läuft", "done train", "of a library"]
    assert end == "ended after 0 s"
    assert text.startswith("20")
    assert " WARNING library: of a library\n" in text


def test_an_error_is_there_with_its_traceback_and_names_the_file(tmp_path):
    with pytest.raises(DataError) as caught, logging_to_file(tmp_path, "train"):
        raise DataError("no videos")
    text = only_file(tmp_path)
    assert "ERROR stpa.log_file: no videos\nTraceback (most recent call last):\n" in text
    [path] = tmp_path.iterdir()
    assert caught.value.__notes__ == [f"log: {path}"]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InterruptedTrainingError("stopped as asked"), "stopped as asked"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_to_leave_as_asked_is_no_error(tmp_path, error, line):
    with pytest.raises(type(error)) as caught, logging_to_file(tmp_path, "train"):
        raise error
    assert f"WARNING stpa.log_file: {line}\n" in only_file(tmp_path)
    assert "Traceback" not in only_file(tmp_path)
    assert not hasattr(caught.value, "__notes__")


def test_secrets_are_not_written(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "abcdef123456")
    monkeypatch.setattr(sys, "argv", ["stpa", "ingest", "s3://key:secret@host/bucket"])
    with pytest.raises(DataError), logging_to_file(tmp_path, "train"):
        raise DataError("refused abcdef123456 at http://u:p4ss@host")
    text = only_file(tmp_path)
    assert not [secret for secret in ("abcdef", "key:secret", "p4ss") if secret in text]


def test_the_newest_files_stay(tmp_path):
    for number in range(MAX_FILES + 5):
        (tmp_path / f"2026-01-01-0000{number:02}-train.log").touch()
    (tmp_path / "notes.txt").touch()
    with logging_to_file(tmp_path, "train"):
        pass
    names = sorted(path.name for path in tmp_path.glob("*.log"))
    assert len(names) == MAX_FILES
    assert names[0] == "2026-01-01-000006-train.log"
    assert (tmp_path / "notes.txt").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is full")
def test_a_full_disk_stops_neither_the_work_nor_says_so_for_each_line(
    tmp_path, monkeypatch, capsys
):
    open_file = open

    def open_full(path, *args, **kwargs):
        return open_file("/dev/full" if str(path).endswith(".log") else path, *args, **kwargs)

    monkeypatch.setattr("builtins.open", open_full)
    with logging_to_file(tmp_path, "train"):
        for _ in range(3):
            logger.info("a line")
    assert capsys.readouterr().err == ""


def test_where_no_file_can_be_made_the_work_goes_on(tmp_path, caplog):
    (tmp_path / "logs").touch()
    done = False
    with logging_to_file(tmp_path / "logs", "train"):
        done = True
    assert done
    [record] = caplog.records
    assert record.getMessage().startswith("there will be no log file: ")


def test_names_of_files_that_are_no_text_do_not_end_it(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, logging_to_file(tmp_path, "train"):
        root = logging.getLogger()  # without pytest's handlers: it cannot send such names
        patch.setattr(root, "handlers", root.handlers[-1:])
        logger.info("%s", os.fsdecode(b"\xff.avi"))
    assert r"\udcff.avi" in only_file(tmp_path)
