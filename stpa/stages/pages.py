"""Serve the pages of MLflow and Prefect for a workspace."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from stpa.config import Config
from stpa.errors import ComputeError
from stpa.registry.tracking import default_uri
from stpa.workspace import Workspace

HOST = "127.0.0.1"

logger = logging.getLogger(__name__)


def serve_pages(
    workspace: Workspace, config: Config, *, mlflow_port: int, prefect_port: int
) -> None:
    """Run both servers until interrupted, or until one ends; a configured server is only named.

    Raises ComputeError for a port that is in use, before anything starts.
    """
    commands: dict[str, list[str]] = {}
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
        commands[name] = [*command, "--host", HOST, "--port", str(port)]
        logger.info("%s: http://%s:%d (Ctrl-C ends it)", name, HOST, port)
    if commands:
        _serve(commands, workspace.runs / "pages")


def _serve(commands: Mapping[str, list[str]], logs: Path) -> None:
    """Run the servers until interrupted; each writes its own log into `logs`."""
    logs.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: leave no server behind
    servers: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            with (logs / f"{name}.log").open("wb") as log:
                servers[name] = subprocess.Popen(
                    [sys.executable, "-m", *command], env=environment, stdout=log, stderr=log
                )
        while True:
            for name, server in servers.items():
                if server.poll() is not None:
                    raise ComputeError(f"{name} ended by itself: see {logs / name}.log")
            time.sleep(0.5)
    except KeyboardInterrupt:
        return
    finally:
        for server in servers.values():
            server.terminate()
        for server in servers.values():
            server.wait()


def _require_free(name: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ComputeError(
                f"port {port} of {HOST} is in use: give another one by --{name}-port"
            ) from error
