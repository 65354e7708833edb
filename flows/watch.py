"""How flows are watched and repeated: progress in Prefect and on the terminal, and retries."""

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run
from prefect.tasks import exponential_backoff

from stpa.config import Config
from stpa.errors import StpaError, one_line
from stpa.params import load_config
from stpa.progress import NO_DETAILS, Details, ReportProgress, describe
from stpa.stages.plan import Plan, make_plan
from stpa.terminal import TERMINAL
from stpa.workspace import Workspace, exclusive

SECONDS_BETWEEN_UPDATES = 2.0

_PLAN: ContextVar[Plan | None] = ContextVar("plan", default=None)
"""That of the innermost block of `planned`."""

logger = logging.getLogger(__name__)


def open_workspace(root: Path) -> tuple[Workspace, Config]:
    """Return a workspace and its checked parameters."""
    workspace = Workspace(root)
    return workspace, load_config(workspace.params)


@contextmanager
def working_in(root: Path) -> Iterator[tuple[Workspace, Config]]:
    """Yield a workspace, which is this process's alone for the block, and its parameters."""
    workspace, config = open_workspace(root)
    with exclusive(workspace):
        yield workspace, config


@contextmanager
def planned(root: Path) -> Iterator[Plan]:
    """Yield the plan of a workspace, which is this process's alone for the block.

    Blocks within the block have the same plan, so that the flows of a retraining do not mix
    parameters that somebody edits meanwhile.
    """
    plan = _PLAN.get()
    if plan is not None and plan.workspace == Workspace(root):
        yield plan
        return
    with working_in(root) as (workspace, config):
        plan = make_plan(workspace, config)
        token = _PLAN.set(plan)
        try:
            yield plan
        finally:
            _PLAN.reset(token)


def name_run() -> str:
    """Name the current flow run by what it does, and by the workspace that it does it to."""
    return f"{flow_run.flow_name} {Workspace(Path(flow_run.parameters['root'])).name}"


@contextmanager
def watched(description: str, turn: str = "") -> Iterator[ReportProgress]:
    """Show the progress of the block on the terminal and as a Prefect artifact.

    `turn` says which of several it is, such as "2 of 4".
    """
    artifact = _ProgressArtifact(description)
    artifact.show(0.0)
    updated = time.monotonic()

    with TERMINAL.bar(f"{description}, {turn}" if turn else description) as draw:

        def report(done: int, total: int, details: Details = NO_DETAILS, /) -> None:
            nonlocal updated
            draw(done, total, details)
            if time.monotonic() - updated >= SECONDS_BETWEEN_UPDATES:
                artifact.show(100.0 * done / max(total, 1), describe(done, total, details))
                updated = time.monotonic()

        yield report
    artifact.show(100.0)


class _ProgressArtifact:
    """A bar in Prefect's pages, given up at Prefect's first fault: the work goes on."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._id: UUID | None = None
        self._lost = False

    def show(self, percent: float, text: str = "") -> None:
        """Draw the bar, or draw it again, with a text beside what it is of."""
        if self._lost:
            return
        try:
            if self._id is None:
                key = re.sub(r"[^a-z0-9]+", "-", self._description.lower()).strip("-")
                created = create_progress_artifact(percent, key=key, description=self._description)
                self._id = cast("UUID", created)
            else:
                description = f"{self._description}: {text}" if text else self._description
                update_progress_artifact(self._id, percent, description)
        except Exception as error:  # whatever it is, hours of training weigh more
            self._lost = True
            logger.warning("Prefect shows no more of %s: %s", self._description, one_line(error))


async def _is_transient(_task: Any, _run: TaskRun, state: State) -> bool:
    """Tell faults that time may mend from those that come again at once."""
    fault = await state.aresult(raise_on_failure=False)
    return isinstance(fault, StpaError) and fault.transient


RETRIES: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(10),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": _is_transient,
}
"""After about 10, 20 and 40 s: time for a server to come back."""
