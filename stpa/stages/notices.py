"""Notices of what became of a workspace's model, written down for `stpa.stages.delivery`.

A notice is written in the workspace while the decision can still be found, under an id that is the
same when a killed process is run again: so each is told, and told once.
"""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from stpa.config import Config
from stpa.errors import one_line
from stpa.files import digest_value, write_text
from stpa.local_server import HOST, MLFLOW_PORT
from stpa.redaction import redact
from stpa.registry.aliases import Switch, fusion_model
from stpa.registry.promotion import Decision, Outcome, read_reasons
from stpa.registry.rules import Verdict
from stpa.registry.tracking import Tracker, Version
from stpa.workspace import Workspace

FAILED = "training failed"


class Reason(BaseModel):
    """What one rule of promotion found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str
    passed: bool
    reason: str


class Notice(BaseModel):
    """What a receiver is told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    """For receivers: a kill between a delivery and its record makes the same notice come twice."""
    event: Literal["promoted", "rejected", "rolled back", "training failed"]
    text: str
    """All that a chat shows of it."""
    workspace: str
    model: str
    version: int | None
    """The version that is served, or that was rejected; None of a training that failed."""
    reasons: tuple[Reason, ...]
    report: str | None
    """The address of the page that shows the report."""
    time: str
    """In UTC, by ISO 8601."""


class Record(BaseModel):
    """A notice, and how far it has come."""

    model_config = ConfigDict(extra="forbid")

    notice: Notice
    channels: tuple[str, ...] | None = None
    """Where it is to be told; None until somebody has looked at params.yaml for it."""
    sent: dict[str, str] = {}
    """When it was told, by channel."""


def records_folder(workspace: Workspace) -> Path:
    """Return the folder of all records; the holder of the workspace's lock writes to it."""
    return workspace.runs / "notices"


def write_record(workspace: Workspace, record: Record) -> None:
    """Write a record, whole or not at all."""
    path = records_folder(workspace) / f"{record.notice.id}.json"
    write_text(path, record.model_dump_json(indent=2) + "\n")


def note_move(tracker: Tracker, workspace: Workspace, model_name: str, move: Switch) -> None:
    """Write down that a promotion or a rollback moved the champion."""
    champion = tracker.version(fusion_model(model_name), move.champion)
    promoted = move.action == "promote"
    outcome = Outcome.PROMOTED if promoted else Outcome.ROLLED_BACK
    reasons = read_reasons(tracker, champion) if promoted else ()
    decision = Decision(outcome, move.champion, move.previous, reasons)
    _note_decision(tracker, workspace, model_name, champion, decision, f"moved-{move.id}")


def note_rejection(
    tracker: Tracker, workspace: Workspace, model_name: str, challenger: Version, decision: Decision
) -> None:
    """Write down that a challenger was rejected, once however often it is judged."""
    digest = digest_value([challenger.name, challenger.number, challenger.run_id])
    _note_decision(tracker, workspace, model_name, challenger, decision, f"rejected-{digest}")


def note_failure(workspace: Workspace, config: Config, error: Exception) -> None:
    """Write down that a retraining failed."""
    text = f"{workspace.name}: {FAILED}: {redact(one_line(error))}"
    model = config.promotion.model_name
    _write_new(
        workspace,
        _notice(workspace, model, id=f"failed-{uuid.uuid4().hex}", event=FAILED, text=text),
    )


def report_address(tracker: Tracker, run_id: str, workspace: Workspace) -> str:
    """Return where MLflow's pages show the report: the server's, or else those of `stpa ui`."""
    server = tracker.server or f"http://{HOST}:{MLFLOW_PORT}"
    return f"{server}/{tracker.run_page(run_id, workspace.report.name)}"


def _note_decision(
    tracker: Tracker,
    workspace: Workspace,
    model_name: str,
    version: Version,
    decision: Decision,
    notice_id: str,
) -> None:
    address = report_address(tracker, version.run_id, workspace)
    failed = [verdict.reason for verdict in decision.reasons if not verdict.passed]
    sentence = "; ".join([f"{workspace.name}: {decision.sentence}", *failed])
    _write_new(
        workspace,
        _notice(
            workspace,
            model_name,
            id=notice_id,
            event=decision.outcome.value,
            text=redact(f"{sentence}. Report: {address}"),
            version=version.number,
            reasons=_plain(decision.reasons),
            report=redact(address),
        ),
    )


def _notice(workspace: Workspace, model_name: str, **values: object) -> Notice:
    default = {"version": None, "reasons": (), "report": None}
    time = datetime.now(UTC).isoformat(timespec="seconds")
    named = {"workspace": workspace.name, "model": model_name, "time": time}
    return Notice.model_validate({**default, **named, **values})


def _plain(verdicts: Sequence[Verdict]) -> tuple[Reason, ...]:
    return tuple(Reason(rule=v.rule, passed=v.passed, reason=v.reason) for v in verdicts)


def _write_new(workspace: Workspace, notice: Notice) -> None:
    """Write a notice down, unless a process that was killed since has done so."""
    if not (records_folder(workspace) / f"{notice.id}.json").exists():
        write_record(workspace, Record(notice=notice))
