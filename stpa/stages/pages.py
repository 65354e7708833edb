"""Serve the pages of MLflow and Prefect for a workspace."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time

from stpa.config import Config
from stpa.errors import ComputeError
from stpa.registry.tracking import default_uri
from stpa.workspace import Workspace

HOST = "127.0.0.1"

logger = logging.getLogger(__name__)


def serve_pages(
    workspace: Workspace, config: Config, *, mlflow_port: int, prefect_port: int
) -> None:
    """Run both servers until interrupted, or until one ends. Raises ComputeError for a port that
    is in use, before either starts."""
    for name, port in (("mlflow", mlflow_port), ("prefect", prefect_port)):
        _require_free(name, port)
    tracking = config.tracking.uri or default_uri(workspace)
    programs = {
        "MLflow": ["mlflow", "server", "--backend-store-uri", tracking, "--workers", "1"],
        "Prefect": ["prefect", "server", "start"],
    }
    ports = {"MLflow": mlflow_port, "Prefect": prefect_port}
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    servers = {
        name: subprocess.Popen(
            [sys.executable, "-m", *command, "--host", HOST, "--port", str(ports[name])],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for name, command in programs.items()
    }
    for name, port in ports.items():
        logger.info("%s: http://%s:%d (Ctrl-C ends it)", name, HOST, port)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: leave no server behind
    try:
        while all(server.poll() is None for server in servers.values()):
            time.sleep(0.5)
    except KeyboardInterrupt:
        return
    finally:
        for server in servers.values():
            server.terminate()
        for server in servers.values():
            server.wait()
    ended = [name for name, server in servers.items() if server.returncode not in (0, -15)]
    raise ComputeError(f"the server of {' and '.join(ended)} ended by itself: see its own log")


def _require_free(name: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ComputeError(
                f"port {port} of {HOST} is in use: give another one by --{name}-port"
            ) from error
