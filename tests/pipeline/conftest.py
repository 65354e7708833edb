"""One workspace that the whole flow has run in; making it takes most of these tests' time."""

from pathlib import Path

import pytest

from stpa.workspace import Workspace
from tests.workspaces import make_workspace, run_stpa, small_params, write_dataset


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of videos, as a person brings it."""
    return write_dataset(tmp_path_factory.mktemp("videos of a person"))


@pytest.fixture(scope="session")
def retrained(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Workspace:
    """A workspace after `stpa retrain`; no test may change it."""
    root = tmp_path_factory.mktemp("retrained") / "wörk space"
    workspace = make_workspace(root, small_params())
    done = run_stpa("retrain", source, "--workspace", root)
    assert done.returncode == 0, done.stderr
    return workspace
