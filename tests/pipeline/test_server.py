"""Prefect's server for the length of a command, and what Ctrl-C in a terminal leaves behind."""

import os
import signal
import sqlite3
import subprocess
import sys
import uuid
from contextlib import closing, nullcontext

import pytest

from stpa.flows.server import start_server
from tests.workspaces import (
    MARK,
    STPA,
    await_end,
    await_moment,
    checkpointed,
    make_workspace,
    run_stpa,
    small_params,
)

SERVE = """
import os, sys
from pathlib import Path
from urllib.request import urlopen
from stpa.flows.server import start_server
from stpa.streams import RGB, Stream
with start_server(Path(sys.argv[1])):
    print(urlopen(os.environ["PREFECT_API_URL"] + "/health").status, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return an environment that names no server, and marks what is started in it."""
    named = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    monkeypatch.setattr(os, "environ", named)
    return named | {MARK: uuid.uuid4().hex}


@pytest.mark.parametrize("ending", ["by itself", "killed"])
def test_a_server_answers_in_the_block_and_ends_with_its_command(environment, tmp_path, ending):
    command = subprocess.Popen(
        [sys.executable, "-c", SERVE, tmp_path],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert command.stdout is not None
    assert command.stdout.readline() == "200\n"
    if ending == "killed":
        command.kill()
    command.communicate()
    await_end(environment[MARK])


@pytest.mark.parametrize("name", ["PREFECT_API_URL", "PREFECT_HOME"])
def test_none_is_started_for_who_has_one(monkeypatch, environment, tmp_path, name):
    monkeypatch.setenv(name, "http://127.0.0.1:9/api")
    assert isinstance(start_server(tmp_path), nullcontext)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.usefixtures("heed_interrupts")
@pytest.mark.parametrize(
    ("number", "streams"),
    [(signal.SIGINT, ["rgb", "flow"]), (signal.SIGTERM, ["rgb"])],
    ids=["Ctrl-C, both streams", "SIGTERM, one stream"],
)
def test_asked_to_leave_it_leaves_in_one_line_and_prefect_knows(
    environment, source, tmp_path, number, streams
):
    workspace = make_workspace(tmp_path, small_params())
    for stage in (("ingest", source), ("extract",)):
        assert run_stpa(*stage, "--workspace", workspace.root).returncode == 0
    train = [STPA, "train", "--head", "stpa", "--workspace", workspace.root]
    train += [] if len(streams) > 1 else ["--stream", streams[0]]
    command = subprocess.Popen(
        train,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )

    # A terminal signals all processes of a command, others the command alone.
    send = os.killpg if number == signal.SIGINT else os.kill
    try:
        await_moment(lambda: len(checkpointed(workspace)) == len(streams), command)
    finally:
        send(command.pid, number)
    said, _ = command.communicate()
    assert command.returncode == 130, said
    assert "run it again to go on from there" in said.splitlines()[-1]
    for stream in streams:
        assert f"{stream} stpa leaves after this step, with a checkpoint" in said
    await_end(environment[MARK])
    with closing(sqlite3.connect(workspace.prefect / "prefect.db")) as records:
        [(state,)] = records.execute("select state_type from flow_run")
    assert state == "FAILED"
    assert subprocess.run(train, env=environment).returncode == 0
