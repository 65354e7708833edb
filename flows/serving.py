"""Keep the schedules of a workspace running on this machine until Ctrl-C."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from stpa.config import TrackingConfig
from stpa.flows.server import keep_records
from stpa.local_server import HOST, LOOKS_EVERY_SECONDS, LocalProcess
from stpa.stages.pages import Announce, OpenPages, ended_by_ctrl_c, open_pages
from stpa.workspace import Workspace

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

LOOKS_FOR_RUNS_SECONDS = 5.0
POLL_SECONDS = "5"
"""How often a worker asks for runs that are due; Prefect's own is 15 s."""
LEAVE_SECONDS = 120.0
"""For a training to write a checkpoint and leave."""

_ACTIVE = ("PENDING", "RUNNING", "CANCELLING")
_BEGUN = (*_ACTIVE, "COMPLETED", "FAILED", "CRASHED", "CANCELLED")

Say = Callable[[str], None]
"""Called with a line for a person."""

logger = logging.getLogger(__name__)


def serve(
    workspace: Workspace,
    tracking: TrackingConfig,
    file: Path | None,
    announce: Announce,
    say: Say,
    *,
    mlflow_port: int,
    prefect_port: int,
) -> None:
    """Register the deployments, and run what is due, with the pages to look at it, until Ctrl-C.

    Where PREFECT_API_URL names a server, that one is used, else one of the workspace's own.
    """
    ports = {"MLflow": mlflow_port, "Prefect": prefect_port}
    keep_records(workspace.prefect)
    with ended_by_ctrl_c(), open_pages(workspace, tracking, announce, ports) as pages:
        is_own = "Prefect" in pages.started
        if is_own:
            os.environ["PREFECT_API_URL"] = f"http://{HOST}:{prefect_port}/api"
        _await_answers(pages)
        from stpa.flows.deployments import DEFAULT_FILE, deploy

        deployed = deploy(workspace, file or DEFAULT_FILE)
        for each in deployed:
            say(f"{each.name}: {each.change}, {each.when}")
        ids = [UUID(each.id) for each in deployed]
        if is_own:
            _end_lost_runs(ids, say)
        with _working({each.pool for each in deployed}, workspace.runs / "pages", say) as workers:
            say("ready: Ctrl-C ends what is started here")
            _run(pages, workers, ids, say)


def _await_answers(pages: OpenPages) -> None:
    while len(pages.answering) < len(pages.started):
        pages.look()
        time.sleep(LOOKS_EVERY_SECONDS)


@contextmanager
def _working(pools: set[str], logs: Path, say: Say) -> Iterator[Sequence[LocalProcess]]:
    """Run a worker for each pool; at the end, let the runs that go on leave, as Ctrl-C does."""
    workers = [
        LocalProcess(
            f"the worker of pool {pool}",
            ("prefect", "worker", "start", "--pool", pool),
            log=logs / f"worker-{pool}.log",
            PREFECT_WORKER_QUERY_SECONDS=POLL_SECONDS,
        )
        for pool in sorted(pools)
    ]
    try:
        yield workers
    finally:
        say("stopping: runs that go on end their step, and leave; Ctrl-C again ends them at once")
        try:
            for worker in workers:  # which goes on, as it reports how its runs end
                worker.interrupt_children(LEAVE_SECONDS)
                worker.stop()
        finally:
            for worker in workers:
                worker.kill()


def _run(pages: OpenPages, workers: Sequence[LocalProcess], ids: Sequence[UUID], say: Say) -> None:
    """Watch servers and workers, and say how runs begin and end."""
    told = _Told(ids)
    looked = 0.0
    while True:
        pages.look()
        for worker in workers:
            worker.require_running()
        if time.monotonic() - looked >= LOOKS_FOR_RUNS_SECONDS:
            for line in told.news():
                say(line)
            looked = time.monotonic()
        time.sleep(LOOKS_EVERY_SECONDS)


class _Told:
    """What a person has been told of the runs of deployments."""

    _SILENT = ("Unchanged", "Seen")
    """States of runs that found nothing to do."""

    def __init__(self, ids: Sequence[UUID]) -> None:
        self._ids = list(ids)
        self._states = {run.id: run.state_name for run in self._latest()}

    def news(self) -> Iterator[str]:
        """Yield a line for each run whose state has become another one, but for silent ones."""
        for run in reversed(self._latest()):
            known, self._states[run.id] = self._states.get(run.id), run.state_name
            state = run.state
            if known == run.state_name or state is None or state.name in self._SILENT:
                continue
            if state.is_cancelled() and run.run_count == 0:  # overdue, as another one runs
                continue
            is_watch = run.name.startswith("watch ")
            if state.is_final() or (state.is_running() and not is_watch):
                reason = f": {state.message}" if state.message else ""
                yield f"{time.strftime('%H:%M:%S')} {run.name}: {state.name}{reason}"

    def _latest(self) -> "list[FlowRun]":
        return _read_runs(self._ids, _BEGUN)


def _end_lost_runs(ids: Sequence[UUID], say: Say) -> None:
    """Mark runs that a kill of this machine left running as crashed: they would keep others out."""
    from prefect.client.orchestration import get_client
    from prefect.states import Crashed

    message = "its process was lost with the machine or the command"
    for run in _read_runs(ids, _ACTIVE):
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, Crashed(message=message), force=True)
        say(f"{run.name}: crashed: {message}")


def _read_runs(ids: Sequence[UUID], states: Sequence[str]) -> "list[FlowRun]":
    """Return the latest runs of deployments that are in one of the states, the last first."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterId,
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort

    wanted = FlowRunFilterStateType(any_=[StateType(each) for each in states])
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=list(ids))),
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=wanted)),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=20,
        )
