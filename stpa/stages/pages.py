"""Serve the pages of MLflow and Prefect for a workspace."""

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stpa.config import TrackingConfig
from stpa.errors import ComputeError
from stpa.local_server import HOST, LOOKS_EVERY_SECONDS, LocalServer
from stpa.redaction import redact
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
    ports = {"MLflow": mlflow_port, "Prefect": prefect_port}
    with ended_by_ctrl_c(), open_pages(workspace, tracking, announce, ports) as pages:
        if pages.started:
            logger.info(
                "starting %s; Ctrl-C ends what is started here", " and ".join(pages.started)
            )
        while pages.started:
            pages.look()
            time.sleep(LOOKS_EVERY_SECONDS)


@contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """End the block, without an error, by Ctrl-C or SIGTERM: it leaves no server behind."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def open_pages(
    workspace: Workspace, tracking: TrackingConfig, announce: Announce, ports: Mapping[str, int]
) -> Iterator["OpenPages"]:
    """Start each server that is not configured, at its port, for the length of the block.

    Raises ComputeError for a port that is in use, before anything starts.
    """
    configured = {"MLflow": tracking.uri, "Prefect": os.environ.get("PREFECT_API_URL")}
    missing = [name for name, address in configured.items() if not address]
    for name in missing:
        _require_free(name, ports[name])
    if workspace.report.exists():
        announce("report", str(workspace.report.resolve()))
    for name, address in configured.items():
        if address:
            announce(name, redact(address))
    pages = {"MLflow": _mlflow, "Prefect": _prefect}
    wanted = [pages[name](workspace, tracking, ports[name]) for name in missing]
    opened = OpenPages(announce)
    try:
        for each in wanted:
            opened.start(each, workspace.runs / "pages")
        yield opened
    finally:
        opened.stop()


class OpenPages:
    """The servers that run here, and who is told once each of them answers."""

    def __init__(self, announce: Announce) -> None:
        self._announce = announce
        self._servers: dict[_Pages, LocalServer] = {}
        self.answering: set[str] = set()

    @property
    def started(self) -> list[str]:
        """The names of the servers that were started here."""
        return [pages.name for pages in self._servers]

    def start(self, pages: _Pages, logs: Path) -> None:
        """Start one; it writes its log into `logs`."""
        environment = {
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            # Prefect's pages ask port 4200 otherwise, whatever the server's own port is.
            "PREFECT_SERVER_UI_API_URL": f"http://{HOST}:{pages.port}/api",
        }
        log = logs / f"{pages.name.lower()}.log"
        self._servers[pages] = LocalServer(
            pages.name, pages.module, port=pages.port, log=log, **environment
        )

    def look(self) -> None:
        """Announce each that has come to answer; raise ComputeError where one has ended."""
        for pages, server in self._servers.items():
            if server.answers() and pages.name not in self.answering:
                self._announce(pages.name, pages.address)
                self.answering.add(pages.name)

    def stop(self) -> None:
        """End all of them."""
        for server in self._servers.values():
            server.stop()


def _mlflow(workspace: Workspace, tracking: TrackingConfig, port: int) -> _Pages:
    first = open_tracker(workspace, tracking).table_page(TABLE_COLUMNS)
    store = ("--backend-store-uri", default_uri(workspace))
    return _Pages("MLflow", port, ("mlflow", "server", *store, "--workers", "1"), first)


def _prefect(_workspace: Workspace, _tracking: TrackingConfig, port: int) -> _Pages:
    return _Pages("Prefect", port, ("prefect", "server", "start"))


def _require_free(name: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ComputeError(
                f"port {port} of {HOST} is in use: give another one by --{name.lower()}-port"
            ) from error
