"""Serve the pages of MLflow and Prefect for a workspace."""

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stpa.config import TrackingConfig
from stpa.errors import ComputeError
from stpa.local_server import HOST, LOOKS_EVERY_SECONDS, LocalServer
from stpa.registry.tracking import default_uri, open_tracker
from stpa.workspace import Workspace

TABLE_COLUMNS = (
    "attributes.`Created`",
    "attributes.`Dataset`",
    "attributes.`Duration`",
    "metrics.`test/top1`",
    "metrics.`test/map`",
    "metrics.`train/loss`",
    "metrics.`validation/top1`",
    "metrics.`validation/map`",
    "params.`model.backbone`",
)
"""Of the table of runs in MLflow, which leaves out what none of them has."""

logger = logging.getLogger(__name__)

Announce = Callable[[str, str], None]
"""Called with the name of what can be looked at, and its address."""


@dataclass(frozen=True)
class _Pages:
    """One server's pages, and how to start it."""

    name: str
    port: int
    module: tuple[str, ...]
    first: str = ""
    """The page to begin with, below the server's own address."""

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}/{self.first}"


def serve_pages(
    workspace: Workspace,
    tracking: TrackingConfig,
    announce: Announce,
    *,
    mlflow_port: int,
    prefect_port: int,
) -> None:
    """Run both servers until interrupted, or until one ends; a configured server is only named.

    Raises ComputeError for a port that is in use, before anything starts.
    """
    configured = {"MLflow": tracking.uri, "Prefect": os.environ.get("PREFECT_API_URL")}
    ports = {"MLflow": mlflow_port, "Prefect": prefect_port}
    missing = [name for name, address in configured.items() if not address]
    for name in missing:
        _require_free(name, ports[name])
    if workspace.report.exists():
        announce("report", str(workspace.report.resolve()))
    for name, address in configured.items():
        if address:
            announce(name, address)
    if missing:
        logger.info("starting %s; Ctrl-C ends what is started here", " and ".join(missing))
        pages = {"MLflow": _mlflow, "Prefect": _prefect}
        _serve(
            [pages[name](workspace, tracking, ports[name]) for name in missing],
            workspace.runs / "pages",
            announce,
        )


def _mlflow(workspace: Workspace, tracking: TrackingConfig, port: int) -> _Pages:
    first = open_tracker(workspace, tracking).table_page(TABLE_COLUMNS)
    store = ("--backend-store-uri", default_uri(workspace))
    return _Pages("MLflow", port, ("mlflow", "server", *store, "--workers", "1"), first)


def _prefect(_workspace: Workspace, _tracking: TrackingConfig, port: int) -> _Pages:
    return _Pages("Prefect", port, ("prefect", "server", "start"))


def _serve(all_pages: Sequence[_Pages], logs: Path, announce: Announce) -> None:
    """Run the servers until interrupted; each writes its own log into `logs`."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: leave no server behind
    servers: dict[_Pages, LocalServer] = {}
    try:
        for pages in all_pages:
            environment = {
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                # Prefect's pages ask port 4200 otherwise, whatever the server's own port is.
                "PREFECT_SERVER_UI_API_URL": f"http://{HOST}:{pages.port}/api",
            }
            log = logs / f"{pages.name.lower()}.log"
            servers[pages] = LocalServer(
                pages.name, pages.module, port=pages.port, log=log, **environment
            )
        announced = set()
        while True:
            for pages, server in servers.items():
                if server.answers() and pages not in announced:
                    announce(pages.name, pages.address)
                    announced.add(pages)
            time.sleep(LOOKS_EVERY_SECONDS)
    except KeyboardInterrupt:
        return
    finally:
        for server in servers.values():
            server.stop()


def _require_free(name: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ComputeError(
                f"port {port} of {HOST} is in use: give another one by --{name.lower()}-port"
            ) from error
