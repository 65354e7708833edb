"""The current folder is the user's: no process takes a module from it."""

from pathlib import Path

import pytest

from tests.workspaces import run_stpa


def test_neither_a_command_nor_its_dvc_imports_from_it(
    current_folder: Path, imported: Path, source: Path
) -> None:
    for command in (("ingest", source), ("doctor",)):
        done = run_stpa(*command)
        assert not imported.exists(), imported.read_text()
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", [":/elsewhere", "/elsewhere:", ":"])
def test_an_empty_entry_of_pythonpath_does_not_bring_it_back(
    current_folder: Path, imported: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", path)
    done = run_stpa("init", "--help")
    assert not imported.exists(), imported.read_text()
    assert "Usage: stpa init" in done.stdout


@pytest.mark.slow
def test_no_server_worker_or_loader_of_a_retraining_imports_from_it(
    current_folder: Path, imported: Path, source: Path
) -> None:
    done = run_stpa("retrain", source)
    assert not imported.exists(), imported.read_text()
    assert done.returncode == 0, done.stderr
