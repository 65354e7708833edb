"""Serve the pages of MLflow and Prefect for a workspace."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stpa.config import Config
from stpa.errors import ComputeError
from stpa.registry.tracking import default_uri
from stpa.workspace import Workspace

HOST = "127.0.0.1"
_LOOKS_EVERY_SECONDS = 0.5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Server:
    port: int
    command: list[str]

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"


def serve_pages(
    workspace: Workspace, config: Config, *, mlflow_port: int, prefect_port: int
) -> None:
    """Run both servers until interrupted, or until one ends; a configured server is only named.

    Raises ComputeError for a port that is in use, before anything starts.
    """
    servers: dict[str, _Server] = {}
    for name, port, address, command in (
        (
            "mlflow",
            mlflow_port,
            config.tracking.uri,
            ["mlflow", "server", "--backend-store-uri", default_uri(workspace), "--workers", "1"],
        ),
        (
            "prefect",
            prefect_port,
            os.environ.get("PREFECT_API_URL"),
            ["prefect", "server", "start"],
        ),
    ):
        if address:
            logger.info("%s: at the configured %s", name, address)
            continue
        _require_free(name, port)
        servers[name] = _Server(port, [*command, "--host", HOST, "--port", str(port)])
    if servers:
        logger.info("starting %s; Ctrl-C ends what is started here", " and ".join(servers))
        _serve(servers, workspace.runs / "pages")


def _serve(servers: Mapping[str, _Server], logs: Path) -> None:
    """Run the servers until interrupted; each writes its own log into `logs`."""
    logs.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    if "prefect" in servers:  # its page asks port 4200 otherwise, whatever its own port is
        environment["PREFECT_SERVER_UI_API_URL"] = f"{servers['prefect'].address}/api"
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: leave no server behind
    processes: dict[str, subprocess.Popen[bytes]] = {}
    silent = dict(servers)
    try:
        for name, server in servers.items():
            with (logs / f"{name}.log").open("wb") as log:
                processes[name] = subprocess.Popen(
                    [sys.executable, "-m", *server.command], env=environment, stdout=log, stderr=log
                )
        while True:
            for name, process in processes.items():
                if process.poll() is not None:
                    raise ComputeError(f"{name} ended by itself: see {logs / name}.log")
            for name in [name for name, server in silent.items() if _answers(server.port)]:
                logger.info("%s: %s", name, silent.pop(name).address)
            time.sleep(_LOOKS_EVERY_SECONDS)
    except KeyboardInterrupt:
        return
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _require_free(name: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ComputeError(
                f"port {port} of {HOST} is in use: give another one by --{name}-port"
            ) from error
