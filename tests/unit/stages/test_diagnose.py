"""`stpa doctor` tries each service, and changes none."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stpa.stages import diagnose as stage
from stpa.stages.diagnose import Finding, diagnose
from stpa.workspace import Workspace
from tests.servers.canned import canned_server
from tests.workspaces import make_workspace, small_params


@pytest.fixture(autouse=True)
def _no_services(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("RAY_ADDRESS", "PREFECT_API_URL"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def closed() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def answering() -> Iterator[str]:
    """The address of a server to which all is well."""
    with canned_server((200, "")) as place:
        yield place


def findings(root: Path, **changes: dict[str, Any]) -> dict[str, Finding]:
    found = diagnose(make_workspace(root, small_params(**changes)))
    return {finding.subject: finding for finding in found}


def failed(found: dict[str, Finding]) -> set[str]:
    return {subject for subject, finding in found.items() if not finding.passed} - {"disk"}


def test_a_new_workspace_is_sound_and_stays_as_it_is(tmp_path):
    found = findings(tmp_path)
    assert failed(found) == set()
    assert {path.name for path in tmp_path.iterdir()} == {"params.yaml", "dvc.yaml"}
    assert "the first training makes it" in found["MLflow"].message


def test_every_service_that_does_not_answer_is_told_with_what_to_do(tmp_path, closed, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", f"http://{closed}/api")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{closed}")
    found = findings(
        tmp_path,
        compute={"address": closed},
        tracking={"uri": f"http://{closed}"},
        data={"remote": "s3://bucket/prefix"},
    )
    assert failed(found) == {"Ray", "MLflow", "Prefect", "DVC remote"}
    assert "correct compute.address or RAY_ADDRESS" in found["Ray"].message
    assert found["MLflow"].message.endswith("start it or change tracking.uri")
    assert found["Prefect"].message.endswith("start it, or correct PREFECT_API_URL")
    assert found["DVC remote"].message.startswith("data.remote s3://bucket/prefix: ")
    assert "Could not connect to the endpoint URL" in found["DVC remote"].message


def test_a_prefect_server_that_answers_passes(tmp_path, answering, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", f"http://{answering}/api")
    assert findings(tmp_path)["Prefect"] == Finding(
        "Prefect", True, f"http://{answering}/api answers"
    )


def test_a_remote_folder_that_cannot_be_written_fails(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, _mode: path != tmp_path)  # root may write all
    remote = str(tmp_path / "shared" / "dvc")
    message = findings(tmp_path / "workspace", data={"remote": remote})["DVC remote"].message
    assert message == f"data.remote {remote} cannot be written: change it, or whose {tmp_path} is"


def test_a_gpu_that_is_asked_for_must_be_here_or_on_a_cluster(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    found = findings(tmp_path, compute={"gpus_per_worker": 1})
    assert failed(found) == {"GPU"}
    assert "set it to 0" in found["GPU"].message


def test_a_library_that_does_not_load_is_a_finding(tmp_path, monkeypatch):
    def fail(*_args: object, **_kwargs: object) -> None:
        raise ImportError("libav.so: cannot open")

    monkeypatch.setattr(stage, "read_frames", fail)
    found = findings(tmp_path)
    assert failed(found) == {"decoders"}
    assert found["decoders"].message == "ImportError: libav.so: cannot open"


def test_unsound_parameters_end_it_there(tmp_path):
    assert failed(
        {finding.subject: finding for finding in diagnose(Workspace(tmp_path / "none"))}
    ) == {"parameters"}
