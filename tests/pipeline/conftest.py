"""One workspace that the whole flow has run in; making it takes most of these tests' time."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from stpa.workspace import Workspace
from tests.workspaces import (
    REPOSITORY,
    checkpointed,
    kill_stpa,
    make_workspace,
    run_stpa,
    small_params,
    write_dataset,
)

NAMESAKES = ("random", "click", "timm")
"""Modules that the command line, DVC, the servers and the workers import."""
TRAP = """
import sys
with open({log!r}, "a") as log:
    print(__name__, "by", *sys.orig_argv, file=log)
raise ImportError("taken from the current folder")
"""


@dataclass
class Interrupted:
    """A workspace whose first `stpa retrain` was killed as it trained, and whose second ended."""

    workspace: Workspace
    first_epochs: dict[str, dict[str, float]]
    """What was measured before the kill, by the training's folder."""
    commit: str
    """Of the code, as Git names it."""
    told: str
    """What the second one showed on standard error."""


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of videos, as a person brings it."""
    return write_dataset(tmp_path_factory.mktemp("videos of a person"))


@pytest.fixture(scope="session")
def interrupted(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Interrupted:
    workspace = make_workspace(tmp_path_factory.mktemp("retrained") / "wörk space", small_params())
    commit = subprocess.run(
        ["git", "-C", REPOSITORY, "rev-parse", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    retrain = ("retrain", source, "--workspace", workspace.root)
    kill_stpa(*retrain, when=lambda: bool(checkpointed(workspace)))
    first_epochs = {run.name: _first_epoch(run) for run in checkpointed(workspace)}
    done = run_stpa(*retrain)
    assert done.returncode == 0, done.stderr
    return Interrupted(workspace, first_epochs, commit or "unknown", done.stderr)


@pytest.fixture(scope="session")
def retrained(interrupted: Interrupted) -> Workspace:
    """A workspace with a champion; no test may change its results."""
    return interrupted.workspace


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    """A file that appears when a module of `trapped` is imported, and names the process."""
    return tmp_path / "imported.log"


@pytest.fixture
def trapped(tmp_path: Path, imported: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which holds files and a folder named like modules in use."""
    folder = tmp_path / "current folder"
    (folder / "stpa" / "data").mkdir(parents=True)
    for name in NAMESAKES:
        (folder / f"{name}.py").write_text(TRAP.format(log=str(imported)))
    for name in ("PYTHONPATH", "PREFECT_API_URL", "PREFECT_HOME", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def current_folder(trapped: Path) -> Path:
    """The same folder, made a workspace."""
    params = small_params(compute={"loader_processes": 1})
    del params["model"]["heads"]["tsn"]
    for stream in ("rgb", "flow"):
        params["train"]["streams"][stream] |= {"epochs": 1}
    return make_workspace(trapped, params).root


def _first_epoch(run: Path) -> dict[str, float]:
    progress = next(run.glob("checkpoints/checkpoint_*/progress.json"))
    return json.loads(progress.read_text())["history"][0]
