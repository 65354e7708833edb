"""What runs by itself on a workspace, and ends well where there is nothing to do.

`infra/prefect.yaml` says when; `stpa.flows.deployments` registers it. Slow imports wait until
there is something to do: `watch` runs every few minutes.
"""

import time
import uuid
from itertools import count
from pathlib import Path

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.events import emit_event
from prefect.states import Cancelled, Completed, Scheduled

from stpa.errors import BusyError, InterruptedTrainingError, one_line
from stpa.files import digest_value
from stpa.flows.watch import name_run
from stpa.log_file import logging_to_file
from stpa.stages.delivery import deliver_notices
from stpa.stages.unchanged import Inputs, find_unchanged, holds_listing, read_inputs, read_last
from stpa.workspace import Workspace, exclusive, require_room

ARRIVED = "stpa.dataset.arrived"
MAX_CRASHES = 3
"""Of runs on the same videos, before the next one waits for the night."""
SKIPPED = "Skipped"
"""Name of the completed state of a run that met another process at work."""
INTERRUPTED = "Interrupted"
"""Name of the cancelled state of a run that was asked to leave, and left a checkpoint."""


@flow(name="nightly", flow_run_name=name_run)
def nightly(root: Path, source: Path | None = None) -> State:
    """Retrain the workspace `root`, unless nothing has changed or another process is at work."""
    workspace = Workspace(root)
    try:
        with exclusive(workspace):
            return _retrain(workspace, source)
    except BusyError as error:
        return Completed(name=SKIPPED, message=f"skipped: at work: {one_line(error)}")
    except InterruptedTrainingError as error:
        return Cancelled(name=INTERRUPTED, message=one_line(error))


@flow(name="watch", flow_run_name=name_run)
def watch(
    root: Path, deployment: str, source: Path | None = None, quiet_seconds: float = 30.0
) -> State:
    """Start `deployment`, a FLOW/NAME, once videos have come that the last retraining had not.

    A listing that differs after `quiet_seconds` is that of a copy in progress: the next run looks
    again. Another listing starts one run, however often it is seen.
    """
    workspace = Workspace(root)
    seen = read_inputs(workspace, source)
    if holds_listing(workspace, seen):
        return Completed(name="Unchanged", message="no video has come, changed or left")
    time.sleep(quiet_seconds)
    if read_inputs(workspace, source).listing != seen.listing:
        return Completed(name="Arriving", message=f"still changing within {quiet_seconds:g} s")
    if _is_busy(workspace):
        return Completed(
            name=SKIPPED, message="skipped: at work; videos that came wait for its end"
        )
    return _start(workspace, deployment, seen)


def _retrain(workspace: Workspace, source: Path | None) -> State:
    last = find_unchanged(workspace, source)
    if last is not None:
        deliver_notices(workspace)
        message = f"unchanged since the retraining that ended {last.ended}: {last.decision}"
        return Completed(name="Unchanged", message=message)
    with logging_to_file(workspace.logs, "nightly"):
        require_room(workspace)
        from stpa.flows.retrain import retrain

        summary = retrain(workspace.root, source)
    return Completed(message=summary.decision.sentence)


def _is_busy(workspace: Workspace) -> bool:
    try:
        with exclusive(workspace):
            return False
    except BusyError:
        return True


def _start(workspace: Workspace, deployment: str, seen: Inputs) -> State:
    """Emit the event and start a run; return what became of the one that is there already."""
    last = read_last(workspace)
    key = digest_value([str(workspace.root), seen.folder, seen.listing, last and last.ended])
    run = _start_once(deployment, key)
    if run.state is not None and run.state.type is StateType.SCHEDULED:
        _emit_arrival(workspace, seen, key)
        return Completed(name="Arrived", message=f"videos have come: {deployment} is started")
    name = run.state.name if run.state else "unknown"
    return Completed(name="Seen", message=f"{deployment} was started on these videos: {name}")


def _start_once(deployment: str, key: str) -> FlowRun:
    """Return the run for `key`; a new one where the last did not end its work.

    That is where it was skipped, was asked to leave or, a few times, has crashed.

    One that failed would fail again, until somebody has changed something.
    """
    num_crashes = 0
    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name(deployment)
        for attempt in count():
            run = client.create_flow_run_from_deployment(
                found.id, state=Scheduled(), idempotency_key=f"arrived-{key}-{attempt}"
            )
            has_crashed = run.state is not None and run.state.is_crashed()
            num_crashes += has_crashed
            if not (_was_skipped(run) or (has_crashed and num_crashes < MAX_CRASHES)):
                return run
    raise AssertionError("numbers do not end")


def _was_skipped(run: FlowRun) -> bool:
    """Tell a run that another one or a person kept from its work from all others."""
    if run.state is None or not run.state.is_final():
        return False
    is_over_limit = run.state.is_cancelled() and run.run_count == 0
    return run.state.name in (SKIPPED, INTERRUPTED) or is_over_limit


def _emit_arrival(workspace: Workspace, seen: Inputs, key: str) -> None:
    """Emit the event for automations of the user's own; its id is the same whenever it is tried."""
    emit_event(
        ARRIVED,
        resource={
            "prefect.resource.id": f"stpa.dataset.{workspace.name}",
            "prefect.resource.name": workspace.name,
        },
        payload={"workspace": str(workspace.root.resolve()), "listing": seen.listing},
        id=uuid.uuid5(uuid.NAMESPACE_URL, f"stpa:{key}"),
    )
