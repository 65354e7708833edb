"""The tracker against a real MLflow server on SQLite, with files on its disk or on a real S3."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stpa.errors import RegistryError
from stpa.registry.tracking import Tracker
from tests.servers.swift import swift_server


@pytest.fixture(scope="module", params=["folder", pytest.param("s3", marks=pytest.mark.slow)])
def artifacts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, dict[str, str]]]:
    """Where the server keeps files, and the environment that it needs for that."""
    if request.param == "folder":
        yield str(tmp_path_factory.mktemp("artifacts")), {}
        return
    with swift_server(tmp_path_factory.mktemp("swift")) as swift:
        swift.filesystem().mkdir("mlflow")
        endpoint = {"MLFLOW_S3_ENDPOINT_URL": swift.endpoint}
        yield "s3://mlflow/artifacts", swift.environment | endpoint
        assert swift.filesystem().find("mlflow/artifacts"), "files came to the bucket"


@pytest.fixture(scope="module")
def server_uri(
    artifacts: tuple[str, dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    destination, credentials = artifacts
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        **credentials,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    log = folder / "server.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
                *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
                *("--artifacts-destination", destination),
                *("--host", "127.0.0.1", "--port", str(port)),
            ],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    uri = f"http://127.0.0.1:{port}"
    try:
        _wait_for(uri, process, log)
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(uri: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            Tracker(uri, "warm-up")
        except RegistryError:
            time.sleep(0.5)
        else:
            return
    pytest.fail(f"the MLflow server did not start:\n{log.read_text()[-2000:]}")


def test_two_streams_train_and_register_at_once_on_one_server(server_uri: str, tmp_path: Path):
    tracker = Tracker(server_uri, "two-streams")

    def train(stream: str) -> str:
        folder = tmp_path / stream / "model"
        folder.mkdir(parents=True)
        (folder / "weights.safetensors").write_bytes(stream.encode() * 1000)
        run = tracker.open_run(f"key-{stream}", stream, {"train": {"epochs": 3}}, {})
        for epoch in range(3):
            tracker.log_metrics(run, {"loss": 1 / (epoch + 1)}, step=epoch)
        version = tracker.register_model(f"m-{stream}", run, {stream: folder}, {"k": 3}, {})
        tracker.set_alias(version.name, "champion", version.number)
        tracker.close_run(run)
        return run

    with ThreadPoolExecutor(2) as pool:
        runs = dict(zip(("rgb", "flow"), pool.map(train, ("rgb", "flow")), strict=True))
    for stream, run in runs.items():
        assert tracker.client.get_run(run).info.status == "FINISHED"
        assert len(tracker.client.get_metric_history(run, "loss")) == 3
        champion = tracker.version_by_alias(f"m-{stream}", "champion")
        assert champion is not None
        model = tracker.download_model(champion, tmp_path / "cache")
        weights = (model.networks[stream] / "weights.safetensors").read_bytes()
        assert weights == stream.encode() * 1000
        assert model.serving == {"k": 3}


def test_text_goes_through_the_server_and_back(server_uri: str):
    tracker = Tracker(server_uri, "text")
    run = tracker.open_run("k", "fusion", {}, {})
    assert tracker.read_text(run, "judgements/d1.json") is None
    tracker.log_text(run, "größer", "judgements/d1.json")
    assert tracker.read_text(run, "judgements/d1.json") == "größer"
