"""Prefect's settings, and a server for the length of a command, for who has none.

Prefect itself would start one too, but only once its own server is imported in this process as
well, and such that Ctrl-C in a terminal ends the server before the flows.
"""

import atexit
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from stpa.errors import ComputeError

HOST = "127.0.0.1"
START_SECONDS = 120.0
STOP_SECONDS = 10.0
_LOOKS_EVERY_SECONDS = 0.05


def keep_records(home: Path) -> None:
    """Have Prefect keep its records in `home`, unless the environment says where; call it before
    Prefect is imported.
    """
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault(
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", f"{START_SECONDS:.0f}"
    )
    os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "stpa")
    # The pages show Prefect's log; the terminal has bars, and errors in one line.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    if "PREFECT_API_URL" not in os.environ:
        os.environ.setdefault("PREFECT_HOME", str(home.resolve()))


def start_server(home: Path) -> AbstractContextManager[object]:
    """Start a server that ends with this process; return a block to run flows in.

    Importing flows takes as long as the server's start: do so in between, as the block waits for
    it. Nothing is started where PREFECT_API_URL, or a PREFECT_HOME of the user's, says what to use.
    The block raises ComputeError when the server ends by itself, or does not answer.
    """
    is_configured = "PREFECT_API_URL" in os.environ or "PREFECT_HOME" in os.environ
    keep_records(home)
    if is_configured:
        return nullcontext()
    port = _free_port()
    os.environ["PREFECT_API_URL"] = f"http://{HOST}:{port}/api"
    log = home / "server.log"
    command = [sys.executable, "-m", "prefect", "server", "start", "--no-ui"]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--host", HOST, "--port", str(port)],
            stdout=output,
            stderr=output,
            process_group=0,  # a terminal's Ctrl-C is for the command: it may say how flows ended
            preexec_fn=_end_with_parent,
        )
    atexit.register(_stop, process)  # before Prefect's own, which run first and need it
    return _running(process, port, log)


@contextmanager
def _running(process: subprocess.Popen[bytes], port: int, log: Path) -> Iterator[None]:
    _await(process, port, log)
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    # A server that outlives its flows finds by these whose process was killed. Each flow's end
    # waits for up to a second for them.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_with_parent() -> None:
    """Have Linux end this process when its parent is killed; elsewhere, it would stay."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


def _await(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(port):
        if process.poll() is not None:
            raise ComputeError(f"Prefect's server ended by itself: see {log}")
        if time.monotonic() > deadline:
            raise ComputeError(f"Prefect's server is silent after {START_SECONDS:.0f} s: see {log}")
        time.sleep(_LOOKS_EVERY_SECONDS)


def _answers(port: int) -> bool:
    connection = HTTPConnection(HOST, port, timeout=START_SECONDS)
    try:
        connection.request("GET", "/api/health")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]
