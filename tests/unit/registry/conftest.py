"""One real MLflow store for the session, since making its tables takes seconds."""

import uuid
from pathlib import Path

import pytest

from stpa.registry.tracking import Tracker


@pytest.fixture(scope="session")
def store_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('the störe') / 'mlflow.db'}"


@pytest.fixture
def tracker(store_uri: str) -> Tracker:
    """Connect to an experiment of the test's own."""
    return Tracker(store_uri, f"experiment-{uuid.uuid4().hex}")


@pytest.fixture
def model_name() -> str:
    return f"swipes-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """Make what a trained network leaves behind, as far as the registry looks."""
    folder = tmp_path / "rgb run" / "model"
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{}")
    (folder / "weights.safetensors").write_bytes(b"weights")
    return folder
