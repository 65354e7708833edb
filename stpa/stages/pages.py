"""Serve the pages of MLflow and Prefect for a workspace."""

import logging
import os
import signal
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from stpa.config import TrackingConfig
from stpa.errors import ComputeError
from stpa.local_server import HOST, LOOKS_EVERY_SECONDS, LocalServer
from stpa.registry.tracking import default_uri
from stpa.workspace import Workspace

logger = logging.getLogger(__name__)


def serve_pages(
    workspace: Workspace, tracking: TrackingConfig, *, mlflow_port: int, prefect_port: int
) -> None:
    """Run both servers until interrupted, or until one ends; a configured server is only named.

    Raises ComputeError for a port that is in use, before anything starts.
    """
    store = ("--backend-store-uri", default_uri(workspace))
    modules = {
        "mlflow": ["mlflow", "server", *store, "--workers", "1"],
        "prefect": ["prefect", "server", "start"],
    }
    configured = {"mlflow": tracking.uri, "prefect": os.environ.get("PREFECT_API_URL")}
    ports = {"mlflow": mlflow_port, "prefect": prefect_port}
    for name, address in configured.items():
        if address:
            logger.info("%s: at the configured %s", name, address)
            del modules[name]
        else:
            _require_free(name, ports[name])
    if modules:
        logger.info("starting %s; Ctrl-C ends what is started here", " and ".join(modules))
        _serve(modules, ports, workspace.runs / "pages")


def _serve(modules: Mapping[str, list[str]], ports: Mapping[str, int], logs: Path) -> None:
    """Run the servers until interrupted; each writes its own log into `logs`."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: leave no server behind
    servers: list[LocalServer] = []
    try:
        for name, module in modules.items():
            environment = {
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                # Its page asks port 4200 otherwise, whatever its own port is.
                "PREFECT_SERVER_UI_API_URL": f"http://{HOST}:{ports['prefect']}/api",
            }
            log = logs / f"{name}.log"
            servers.append(LocalServer(name, module, port=ports[name], log=log, **environment))
        told = set()
        while True:
            for server in servers:
                if server.answers() and server not in told:
                    logger.info("%s: %s", server.name, server.address)
                    told.add(server)
            time.sleep(LOOKS_EVERY_SECONDS)
    except KeyboardInterrupt:
        return
    finally:
        for server in servers:
            server.stop()


def _require_free(name: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ComputeError(
                f"port {port} of {HOST} is in use: give another one by --{name}-port"
            ) from error
