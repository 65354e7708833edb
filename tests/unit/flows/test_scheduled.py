"""What runs by itself: when it starts a retraining, and when it has nothing to do."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Cancelled, Completed, Crashed, Failed, Running, Scheduled

from stpa.errors import DataError, InterruptedTrainingError
from stpa.flows import scheduled
from stpa.flows.scheduled import INTERRUPTED, MAX_CRASHES, SKIPPED, nightly, watch
from stpa.stages.unchanged import read_inputs
from stpa.workspace import Workspace, exclusive
from tests.workspaces import make_workspace, small_params

STARTS = "nightly/nightly-work"


class Server:
    """The runs of a deployment by their key, as Prefect's server keeps them."""

    def __init__(self) -> None:
        self.runs: dict[str, FlowRun] = {}

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None: ...

    def read_deployment_by_name(self, name: str) -> SimpleNamespace:
        assert name == STARTS
        return SimpleNamespace(id="id")

    def create_flow_run_from_deployment(
        self, _id: str, *, state: State, idempotency_key: str
    ) -> FlowRun:
        made = FlowRun(flow_id=uuid4(), state=state, run_count=0, name=idempotency_key)
        return self.runs.setdefault(idempotency_key, made)

    @property
    def last(self) -> FlowRun:
        return list(self.runs.values())[-1]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setattr(scheduled, "get_client", lambda **_: server)
    return server


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    emitted: list[Any] = []
    monkeypatch.setattr(
        scheduled, "emit_event", lambda event, **values: emitted.append((event, values["id"]))
    )
    return emitted


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.avi").touch()
    return folder


@pytest.fixture
def workspace(tmp_path: Path, source: Path) -> Workspace:
    return make_workspace(tmp_path / "work", small_params(data={"source": str(source)}))


def look(workspace: Workspace) -> str | None:
    """Watch once; return the state's name."""
    return watch.fn(workspace.root, STARTS, quiet_seconds=0.0).name


def test_a_burst_of_videos_starts_one_run_and_emits_one_event(workspace, source, server, events):
    for name in "bcd":
        (source / f"{name}.avi").touch()
    assert look(workspace) == "Arrived"
    server.last.state, server.last.run_count = Running(), 1
    assert [look(workspace) for _ in range(3)] == ["Seen"] * 3
    assert len(server.runs) == 1
    assert len(set(events)) == 1
    (source / "e.avi").touch()
    assert look(workspace) == "Arrived"
    assert len(server.runs) == 2


def test_a_copy_in_progress_is_not_started_upon(workspace, source, server, events, monkeypatch):
    monkeypatch.setattr(scheduled.time, "sleep", lambda _: (source / "b.avi").write_text("more"))
    assert look(workspace) == "Arriving"
    assert not server.runs
    assert not events


def test_what_the_last_retraining_had_starts_nothing(workspace, server, monkeypatch):
    seen = read_inputs(workspace, None)
    monkeypatch.setattr(scheduled, "holds_listing", lambda _, inputs: inputs == seen)
    assert look(workspace) == "Unchanged"
    assert not server.runs


ENDS: dict[str, tuple[State, int, bool]] = {
    "it met another one at work": (Completed(name=SKIPPED), 1, True),
    "it was over the limit": (Cancelled(), 0, True),
    "it was lost with its machine": (Crashed(), 1, True),
    "it was asked to leave": (Cancelled(name=INTERRUPTED), 1, True),
    "it failed": (Failed(), 1, False),
    "somebody cancelled it": (Cancelled(), 1, False),
    "it is to come": (Scheduled(), 0, False),
    "it has ended": (Completed(), 1, False),
}


@pytest.mark.parametrize(("state", "run_count", "again"), ENDS.values(), ids=ENDS)
@pytest.mark.usefixtures("events")
def test_the_same_videos_start_another_run_only_where(workspace, server, state, run_count, again):
    look(workspace)
    server.last.state, server.last.run_count = state, run_count
    look(workspace)
    assert len(server.runs) == 1 + again


@pytest.mark.usefixtures("events")
def test_what_crashes_again_and_again_waits_for_the_night(workspace, server):
    for _ in range(MAX_CRASHES + 3):
        look(workspace)
        server.last.state, server.last.run_count = Crashed(), 1
    assert len(server.runs) == MAX_CRASHES


@pytest.fixture
def busy(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """The workspace, while another process is at work in it."""
    with exclusive(workspace):
        monkeypatch.setattr("stpa.workspace._HELD", _Nothing())
        yield workspace


class _Nothing:
    """What another process knows to be its own."""

    def get(self) -> frozenset[Path]:
        return frozenset()

    def set(self, _: object) -> None: ...

    def reset(self, _: object) -> None: ...


@pytest.mark.parametrize(
    "run", [lambda root: nightly.fn(root), lambda root: watch.fn(root, STARTS, quiet_seconds=0.0)]
)
def test_a_busy_workspace_is_skipped_and_no_failure(
    busy: Workspace, server: Server, run: Callable[[Path], State]
):
    state = run(busy.root)
    assert state.is_completed()
    assert state.name == SKIPPED
    assert (state.message or "").startswith("skipped: at work")
    assert not server.runs


def test_an_unchanged_workspace_is_no_work(workspace, monkeypatch):
    last = SimpleNamespace(ended="2026-01-01 02:00:00", decision="Promoted")
    monkeypatch.setattr(scheduled, "find_unchanged", lambda *_: last)
    state = nightly.fn(workspace.root)
    assert (state.name, state.is_completed()) == ("Unchanged", True)
    assert not workspace.logs.exists()


def test_one_that_is_asked_to_leave_is_no_failure(workspace, monkeypatch):
    def leave(*_: object) -> State:
        raise InterruptedTrainingError("stopped as asked after step 8 of 90")

    monkeypatch.setattr(scheduled, "_retrain", leave)
    state = nightly.fn(workspace.root)
    assert (state.name, state.type.value) == (INTERRUPTED, "CANCELLED")
    assert state.message == "stopped as asked after step 8 of 90"


def test_a_folder_that_is_gone_fails(workspace, source):
    (source / "a.avi").unlink()
    source.rmdir()
    with pytest.raises(DataError, match="is not a folder"):
        look(workspace)
