"""How flows are watched and repeated: progress in Prefect and on the terminal, and retries."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from stpa.config import Config
from stpa.errors import StpaError
from stpa.params import load_config
from stpa.progress import ReportProgress
from stpa.terminal import TERMINAL
from stpa.workspace import Workspace

SECONDS_BETWEEN_UPDATES = 2.0


def open_workspace(root: Path) -> tuple[Workspace, Config]:
    """Return a workspace and its checked parameters."""
    workspace = Workspace(root)
    return workspace, load_config(workspace.params)


@contextmanager
def watched(description: str) -> Iterator[ReportProgress]:
    """Show the progress of the block on the terminal and as a Prefect artifact."""
    key = re.sub(r"[^a-z0-9]+", "-", description.lower()).strip("-")
    artifact = cast("UUID", create_progress_artifact(0.0, key=key, description=description))
    updated = time.monotonic()

    with TERMINAL.bar(description) as draw:

        def report(done: int, total: int) -> None:
            nonlocal updated
            draw(done, total)
            if time.monotonic() - updated >= SECONDS_BETWEEN_UPDATES:
                update_progress_artifact(artifact, 100.0 * done / max(total, 1))
                updated = time.monotonic()

        yield report
    update_progress_artifact(artifact, 100.0)


async def _is_transient(_task: Any, _run: TaskRun, state: State) -> bool:
    """Tell faults of the moment from those that only a person can mend."""
    fault = await state.aresult(raise_on_failure=False)
    return not isinstance(fault, StpaError)


RETRIES: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": exponential_backoff(5),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": _is_transient,
}
