"""Prefect's settings, and a server for the length of a command, for who has none.

Prefect itself would start one too, but only once its own server is imported in this process as
well, and such that Ctrl-C in a terminal ends the server before the flows.
"""

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from stpa.local_server import START_SECONDS, LocalServer, free_port


def keep_records(home: Path) -> None:
    """Have Prefect keep its records in `home`, unless the environment says where; call it before
    Prefect is imported.
    """
    settings = {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": f"{START_SECONDS:.0f}",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "stpa",
        # The pages show Prefect's log; the terminal has bars, and errors in one line.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",  # stages log outside of flows too
    }
    if "PREFECT_API_URL" not in os.environ:
        settings["PREFECT_HOME"] = str(home.resolve())
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def start_server(home: Path) -> AbstractContextManager[object]:
    """Start a server that ends with this process; return a block to run flows in.

    Importing flows takes as long as the server's start: do so in between, as the block waits for
    it. Nothing is started where PREFECT_API_URL, or a PREFECT_HOME of the user's, says what to use,
    nor where Prefect is imported already.
    Entering the block raises ComputeError when the server has ended by itself, or does not answer.
    """
    is_configured = "PREFECT_API_URL" in os.environ or "PREFECT_HOME" in os.environ
    keep_records(home)
    if is_configured or "prefect" in sys.modules:  # which would not look for another address
        return nullcontext()
    server = LocalServer(
        "Prefect's server",
        ["prefect", "server", "start", "--no-ui"],
        port=free_port(),
        log=home / "server.log",
    )
    atexit.register(server.stop)  # before Prefect's own, which run first and need it
    os.environ["PREFECT_API_URL"] = f"{server.address}/api"
    return _running(server)


@contextmanager
def _running(server: LocalServer) -> Iterator[None]:
    server.await_answer()
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    # A server that outlives its flows finds by these whose process was killed. Each flow's end
    # waits for up to a second for them.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield
