"""`stpa ui`, with both servers, in a workspace that was moved."""

import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from stpa.params import load_config
from stpa.registry.tracking import open_tracker
from stpa.workspace import Workspace
from tests.workspaces import STPA, make_workspace, small_params

SECONDS_TO_START = 180


@pytest.fixture
def ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


@pytest.fixture
def moved(tmp_path: Path) -> tuple[Workspace, str]:
    """A workspace that was moved after a run, and the run's id."""
    workspace = make_workspace(tmp_path / "before", small_params())
    tracker = open_tracker(workspace, load_config(workspace.params).tracking)
    run = tracker.open_run("k", "rgb", {}, {})
    tracker.log_text(run, "scores", "scores.txt")
    workspace.report.parent.mkdir()
    workspace.report.touch()
    return Workspace(workspace.root.rename(tmp_path / "after")), run


@pytest.fixture
def pages(
    current_folder: Path,
    moved: tuple[Workspace, str],
    ports: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[subprocess.Popen[str]]:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    command = [STPA, "ui", "--workspace", moved[0].root]
    command += ["--mlflow-port", str(ports[0]), "--prefect-port", str(ports[1])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.terminate()


def announced(process: subprocess.Popen[str]) -> dict[str, str]:
    """Read addresses by name until all are there."""
    assert process.stdout is not None
    found: dict[str, str] = {}
    deadline = time.monotonic() + SECONDS_TO_START
    while len(found) < 3:
        assert time.monotonic() < deadline
        line = process.stdout.readline()
        assert line, "it ended"
        found |= dict(re.findall(r"^(\w+): +(\S.*)$", line))
    return found


@pytest.mark.slow
def test_both_pages_answer_where_it_says_and_sigterm_leaves_no_server(
    moved: tuple[Workspace, str], pages: subprocess.Popen[str], ports: tuple[int, int]
) -> None:
    workspace, run = moved
    addresses = announced(pages)
    assert addresses.pop("report") == str(workspace.report.resolve())
    assert addresses.keys() == {"MLflow", "Prefect"}
    mlflow, prefect = (f"http://127.0.0.1:{port}" for port in ports)
    for name, server in (("MLflow", mlflow), ("Prefect", prefect)):
        address = addresses[name]
        assert address.startswith(f"{server}/")
        with urlopen(address, timeout=60) as response:
            assert b"<html" in response.read()
    with urlopen(f"{prefect}/ui-settings", timeout=60) as response:
        assert json.load(response)["api_url"] == f"{prefect}/api"
    artifact = f"{mlflow}/get-artifact?path=scores.txt&run_uuid={run}"
    with urlopen(artifact, timeout=60) as response:
        assert response.read() == b"scores"

    servers = psutil.Process(pages.pid).children(recursive=True)
    assert len(servers) >= 2
    pages.send_signal(signal.SIGTERM)
    assert pages.wait(timeout=60) == 0
    _gone, left = psutil.wait_procs(servers, timeout=10)
    assert left == []


@pytest.mark.slow
def test_neither_server_imports_from_the_current_folder(
    pages: subprocess.Popen[str], imported: Path
) -> None:
    announced(pages)
    assert not imported.exists(), imported.read_text()
