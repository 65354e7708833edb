"""A registered model answers through MLflow alone; the networks are replaced by a stub."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stpa.config import OpticalFlowConfig
from stpa.registry.candidate import Serving
from stpa.registry.tracking import Tracker

FLOW = OpticalFlowConfig(estimator="dis", options={}, bound_px=20, width=96, height=96)
SERVING = Serving(class_names=("a", "b"), num_segments=5, num_crops=1, optical_flow=FLOW)


@pytest.fixture
def model_folder(tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        folder = tmp_path / name / "model"
        folder.mkdir(parents=True)
        (folder / "model.json").write_text(json.dumps(name))
        return folder

    return make


@pytest.fixture
def _stub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predict what was loaded: the logits are lengths of names, and K."""

    def load_predict(networks: dict[str, Path], *, fusion: Any, **settings: Any) -> Any:
        names = {
            stream: json.loads((folder / "model.json").read_text())
            for stream, folder in networks.items()
        }
        if fusion:
            assert names == {"rgb": "the rgb", "flow": "the flow one"}
        first = len(fusion.name if fusion else next(iter(names.values())))
        k, width = settings["num_segments"], settings["optical_flow"]["width"]
        assert settings["num_crops"] == 1
        return lambda path: [first, k, len(path.name), width]

    predict = ModuleType("stpa.evaluation.predict")
    vars(predict).update(load_predict=load_predict)
    monkeypatch.setitem(sys.modules, predict.__name__, predict)


@pytest.fixture
def load_by_uri(store_uri: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Load as somebody else would, by MLflow alone; after something was registered."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store_uri)

    def load(uri: str) -> Any:
        import mlflow.pyfunc

        return mlflow.pyfunc.load_model(uri)

    return load


@pytest.mark.usefixtures("_stub")
def test_a_fusion_answers_for_video_paths_by_alias(
    tracker: Tracker,
    model_name: str,
    model_folder: Callable[[str], Path],
    load_by_uri: Callable[[str], Any],
):
    networks = {"rgb": model_folder("the rgb"), "flow": model_folder("the flow one")}
    serving = SERVING.model_copy(update={"late_fusion": "average_logits"})
    run = tracker.open_run("k", "fusion", {}, {})
    tracker.register_model(model_name, run, networks, serving.model_dump(mode="json"), {})
    tracker.set_alias(model_name, "champion", 1)
    model = load_by_uri(f"models:/{model_name}@champion")
    assert model.predict(["one.avi", "ünother one.avi"]) == [[14, 5, 7, 96], [14, 5, 15, 96]]
    assert model.metadata.signature.inputs.to_dict() == [{"type": "string", "required": True}]


@pytest.mark.usefixtures("_stub")
def test_a_single_stream_answers_too(
    tracker: Tracker,
    model_name: str,
    model_folder: Callable[[str], Path],
    load_by_uri: Callable[[str], Any],
):
    run = tracker.open_run("k", "flow", {}, {})
    networks = {"flow": model_folder("a flow net")}
    tracker.register_model(model_name, run, networks, SERVING.model_dump(mode="json"), {})
    model = load_by_uri(f"models:/{model_name}/1")
    assert model.predict(["one.avi"]) == [[10, 5, 7, 96]]


def test_nothing_is_pickled_and_the_requirements_are_exact(
    tracker: Tracker, model_name: str, model_folder: Callable[[str], Path], tmp_path: Path
):
    run = tracker.open_run("k", "rgb", {}, {})
    networks = {"rgb": model_folder("the rgb")}
    version = tracker.register_model(model_name, run, networks, SERVING.model_dump(mode="json"), {})
    model = tracker.download_model(version, tmp_path / "cache").networks["rgb"].parents[1]
    assert {path.suffix for path in model.rglob("*") if path.is_file()} <= {
        "",
        ".yaml",
        ".txt",
        ".py",
        ".json",
    }
    requirements = (model / "requirements.txt").read_text().split()
    assert all("==" in requirement for requirement in requirements)
    assert not any(requirement.startswith("stpa") for requirement in requirements)
