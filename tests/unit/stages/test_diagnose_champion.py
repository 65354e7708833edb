"""`stpa doctor` loads the champion as the registry holds it."""

import shutil
import tempfile
from pathlib import Path

import pytest

from stpa.models.checkpoint import SPEC_FILE, WEIGHTS_FILE, save_model
from stpa.models.network import ActionNetwork
from stpa.params import load_config
from stpa.registry.aliases import fusion_model
from stpa.registry.candidate import Serving
from stpa.registry.tracking import open_tracker
from stpa.stages.diagnose import Finding, diagnose
from stpa.streams import FLOW, RGB
from stpa.workspace import Workspace
from tests.unit.models.test_network import SPEC
from tests.workspaces import make_workspace, small_params


@pytest.fixture(autouse=True)
def _no_services(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("RAY_ADDRESS", "PREFECT_API_URL"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace that serves two small networks; no test may change it."""
    workspace = make_workspace(tmp_path_factory.mktemp("serving"), small_params())
    config = load_config(workspace.params)
    networks = {stream.name: workspace.runs / stream.name for stream in (RGB, FLOW)}
    for folder in networks.values():
        save_model(folder, ActionNetwork(SPEC))
    settings = Serving(
        class_names=("a", "b", "c"),
        num_segments=3,
        num_crops=1,
        late_fusion="average_logits",
        optical_flow=config.optical_flow,
    )
    tracker = open_tracker(workspace, config.tracking)
    run = tracker.open_run("k", "fusion", {}, {})
    name = fusion_model(config.promotion.model_name)
    tracker.register_model(name, run, networks, settings.model_dump(mode="json"), {})
    tracker.set_alias(name, "champion", 1)
    return workspace


@pytest.fixture
def copy(serving: Workspace, tmp_path: Path) -> Workspace:
    return Workspace(shutil.copytree(serving.root, tmp_path / "copy"))


def find_champion(workspace: Workspace) -> Finding:
    return {finding.subject: finding for finding in diagnose(workspace)}["MLflow"]


def test_a_champion_that_loads_passes_and_is_not_kept(copy: Workspace):
    finding = find_champion(copy)
    assert finding.passed, finding.message
    assert finding.message.endswith("mlflow.db: champion is version 1, and loads")
    assert str(copy.root) in finding.message
    assert not copy.registered.exists()


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        (WEIGHTS_FILE, None, "No such file"),
        (WEIGHTS_FILE, b"half", "is not a whole model folder"),
        (SPEC_FILE, b"{}", "is not a whole model folder"),
        ("MLmodel", None, "MLmodel"),
    ],
)
def test_what_keeps_a_champion_from_loading_is_told(
    copy: Workspace, file: str, content: bytes | None, told: str
):
    for path in copy.mlflow.rglob(file):
        path.unlink() if content is None else path.write_bytes(content)
    finding = find_champion(copy)
    assert not finding.passed
    assert "champion is version 1, which does not load (" in finding.message
    assert told in finding.message
    assert tempfile.gettempdir() not in finding.message.replace(str(copy.root), "")
    assert finding.message.endswith("serve the version before by `stpa rollback`")
