"""`stpa ui`, with both servers."""

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

from tests.workspaces import STPA

SECONDS_TO_START = 180


@pytest.fixture
def ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


@pytest.fixture
def pages(current_folder: Path, ports: tuple[int, int]) -> Iterator[subprocess.Popen[str]]:
    command = [STPA, "ui", "--mlflow-port", str(ports[0]), "--prefect-port", str(ports[1])]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.terminate()


def announced(process: subprocess.Popen[str]) -> dict[str, str]:
    """Read addresses by name until both are there."""
    assert process.stderr is not None
    found: dict[str, str] = {}
    deadline = time.monotonic() + SECONDS_TO_START
    while len(found) < 2:
        assert time.monotonic() < deadline
        line = process.stderr.readline()
        assert line, "it ended"
        found |= dict(re.findall(r"(mlflow|prefect): (http://\S+)", line))
    return found


@pytest.mark.slow
def test_both_pages_answer_where_it_says_and_sigterm_leaves_no_server(
    pages: subprocess.Popen[str], ports: tuple[int, int]
) -> None:
    addresses = announced(pages)
    assert addresses == {
        name: f"http://127.0.0.1:{port}"
        for name, port in zip(("mlflow", "prefect"), ports, strict=True)
    }
    for address in addresses.values():
        with urlopen(address, timeout=60) as response:
            assert b"<html" in response.read()
    with urlopen(f"{addresses['prefect']}/ui-settings", timeout=60) as response:
        assert json.load(response)["api_url"] == f"{addresses['prefect']}/api"

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
