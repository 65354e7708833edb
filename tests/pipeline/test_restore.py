"""`stpa data restore` on what a whole retraining left."""

import json
from pathlib import Path

import pytest

from stpa.data.versioning import read_version
from stpa.params import load_config
from stpa.registry.aliases import find_champion
from stpa.registry.tracking import default_uri, open_tracker
from stpa.workspace import Workspace
from tests.workspaces import make_workspace, run_stpa, small_params

TRAININGS = ("rgb-stpa", "flow-tsn")


@pytest.fixture
def elsewhere(retrained: Workspace, tmp_path: Path) -> Workspace:
    """An empty workspace that shares the MLflow store and the DVC remote."""
    remote = retrained.root.resolve() / small_params()["data"]["remote"]
    params = small_params(data={"remote": str(remote)}, tracking={"uri": default_uri(retrained)})
    return make_workspace(tmp_path / "elsewhere", params)


def digests(workspace: Workspace) -> dict[str, bytes]:
    folders = (workspace.videos, workspace.optical_flow)
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {
        path.relative_to(workspace.root).as_posix(): path.read_bytes()
        for path in (*files, workspace.manifest)
    }


@pytest.mark.parametrize(
    "kind",
    ["fusion", *(pytest.param(f"train/{run}", marks=pytest.mark.slow) for run in TRAININGS)],
)
def test_the_data_of_a_run_come_back_whole(retrained, elsewhere, kind):
    done = run_stpa("data", "restore", run_of(retrained, kind), "-w", elsewhere.root)
    assert done.returncode == 0, done.stderr
    assert "would change them" not in done.stderr
    assert digests(elsewhere) == digests(retrained)
    assert read_version(elsewhere.root) == read_version(retrained.root)
    assert read_version(elsewhere.root).id in done.stdout


def test_what_params_would_make_of_the_data_is_told(retrained, elsewhere):
    text = elsewhere.params.read_text().replace("bound_px: 20", "bound_px: 10")
    elsewhere.params.write_text(text.replace("num_folds: 3", "num_folds: 2"))
    run = run_of(retrained, "train/rgb-stpa")
    done = run_stpa("data", "restore", run, "-w", elsewhere.root)
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stderr.split())
    assert "optical_flow.bound_px was 20" in told
    assert "data.num_folds was 3" in told


def test_an_unknown_run_is_one_line_and_nothing_comes(elsewhere):
    done = run_stpa("data", "restore", "0" * 32, "-w", elsewhere.root)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "not found" in done.stderr
    assert not elsewhere.videos.exists()


def run_of(workspace: Workspace, kind: str) -> str:
    if kind == "fusion":
        config = load_config(workspace.params)
        tracker = open_tracker(workspace, config.tracking)
        return find_champion(tracker, config.promotion.model_name).run_id
    [done] = workspace.runs.glob(f"{kind}-*/done.json")
    return json.loads(done.read_text())["run_id"]
