"""Notices: each is told once, where params.yaml says, and never at the cost of the work."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stpa.files import read_json
from stpa.params import load_config
from stpa.stages.delivery import deliver_notices
from stpa.stages.notices import Notice, Record, note_failure, records_folder, write_record
from stpa.workspace import Workspace
from tests.servers.webhook import Webhook, webhook_server
from tests.workspaces import make_workspace, small_params


def set_notices(workspace: Workspace, **channels: str) -> None:
    make_workspace(workspace.root, small_params(notices=channels))


def write_notice(workspace: Workspace, name: str, time: str = "2026-01-01T00:00:00+00:00") -> None:
    notice = Notice(
        id=name,
        event="promoted",
        text=f"{name} ü",
        workspace="w",
        model="small",
        version=1,
        reasons=(),
        report=None,
        time=time,
    )
    write_record(workspace, Record(notice=notice))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path / "work", small_params())


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with webhook_server() as server:
        yield server


def lines(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def test_each_channel_gets_a_notice_once(workspace, webhook, tmp_path):
    taken = tmp_path / "taken.jsonl"
    script = tmp_path / "a script.py"
    script.write_text(f"import sys; open({str(taken)!r}, 'a').write(sys.stdin.read())")
    command = f"{sys.executable} '{script}'"
    set_notices(workspace, webhook=webhook.address, command=command, file="told/notices.jsonl")
    write_notice(workspace, "one")
    for _ in range(2):
        deliver_notices(workspace)
    written = lines(workspace.root / "told" / "notices.jsonl")
    assert [notice["text"] for notice in written] == ["one ü"]
    assert webhook.taken == written == lines(taken)
    assert read_json(records_folder(workspace) / "one.json")["sent"].keys() == {
        "webhook",
        "command",
        "file",
    }


def test_what_is_not_taken_is_told_without_its_secret_and_comes_once_at_the_next_run(
    workspace, webhook, caplog
):
    webhook.status = 503
    set_notices(workspace, webhook=f"{webhook.address}/services/T0/s3cr3t", file="told.jsonl")
    for name in ("one", "two"):
        write_notice(workspace, name, f"2026-01-0{1 + (name == 'two')}T00:00:00+00:00")
    deliver_notices(workspace)
    [told] = [record.getMessage() for record in caplog.records]
    assert told.startswith("2 notice(s) could not be delivered by notices.webhook and are tried ag")
    assert told.endswith(f"{webhook.address}/*** answers 503 Service Unavailable")
    assert "s3cr3t" not in caplog.text
    assert len(webhook.asked) == 1, "the second waits for the first"
    webhook.status = 200
    deliver_notices(workspace)
    deliver_notices(workspace)
    assert [notice["id"] for notice in webhook.taken] == ["one", "two"]
    assert [notice["id"] for notice in lines(workspace.root / "told.jsonl")] == ["one", "two"]


def test_nobody_at_the_address_and_a_command_that_fails_raise_nothing(workspace, caplog):
    missing = f"{sys.executable} -c 'import sys; sys.exit(\"no such room\")'"
    set_notices(workspace, webhook="http://127.0.0.1:9/s3cr3t", command=missing)
    write_notice(workspace, "one")
    deliver_notices(workspace)
    by_webhook, by_command = [record.getMessage() for record in caplog.records]
    assert "http://127.0.0.1:9/*** does not answer" in by_webhook
    assert "exits with 1: no such room" in by_command
    assert "s3cr3t" not in caplog.text


def test_what_comes_while_nothing_is_set_is_not_told_later(workspace):
    write_notice(workspace, "one")
    deliver_notices(workspace)
    set_notices(workspace, file="told.jsonl")
    write_notice(workspace, "two")
    deliver_notices(workspace)
    assert [notice["id"] for notice in lines(workspace.root / "told.jsonl")] == ["two"]


def test_an_address_from_the_environment_is_in_no_file(workspace, webhook, monkeypatch, caplog):
    monkeypatch.delenv("ROOM", raising=False)
    set_notices(workspace, webhook="$ROOM")
    write_notice(workspace, "one")
    deliver_notices(workspace)
    assert "$ROOM names no http(s) address" in caplog.text
    monkeypatch.setenv("ROOM", webhook.address)
    deliver_notices(workspace)
    assert [notice["id"] for notice in webhook.taken] == ["one"]


def test_a_fault_in_params_keeps_the_notice(workspace, caplog):
    write_notice(workspace, "one")
    set_notices(workspace, webhook="ftp://nowhere")
    deliver_notices(workspace)
    assert "notices wait until params.yaml is corrected" in caplog.text
    set_notices(workspace, file="told.jsonl")
    deliver_notices(workspace)
    assert len(lines(workspace.root / "told.jsonl")) == 1


def test_a_failure_is_told_in_one_line_without_secrets(workspace):
    set_notices(workspace, file="told.jsonl")
    error = ValueError("no answer\nfrom https://me:pass@host/x")
    note_failure(workspace, load_config(workspace.params), error)
    deliver_notices(workspace)
    [notice] = lines(workspace.root / "told.jsonl")
    assert notice["event"] == "training failed"
    assert notice["text"] == "work: training failed: no answer from https://***@host/x"


def test_the_path_of_a_webhook_is_in_no_record_of_the_parameters(workspace):
    set_notices(workspace, webhook="https://hooks.example.org/services/T0/s3cr3t")
    dumped = load_config(workspace.params).model_dump(mode="json")
    assert dumped["notices"]["webhook"] == "https://hooks.example.org/***"
