"""Schedules and notices, with Prefect's own server and worker, and a webhook."""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from stpa.errors import ConfigError
from stpa.files import read_json
from stpa.flows.deployments import DEFAULT_FILE, deploy
from stpa.local_server import LocalServer, free_port
from stpa.stages.notices import records_folder
from stpa.stages.unchanged import read_last
from stpa.workspace import Workspace
from tests.servers.webhook import Webhook, webhook_server
from tests.workspaces import (
    CLASSES,
    MARK,
    STPA,
    await_end,
    await_moment,
    make_workspace,
    run_stpa,
    small_params,
    write_dataset,
    write_video,
)

SECONDS_TO_RETRAIN = 1200.0
"""On a machine that has more to do."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A server as a person starts it, that this process's clients use."""
    home = tmp_path_factory.mktemp("prefect")
    command = ("prefect", "server", "start", "--no-ui")
    started = LocalServer(
        "Prefect", command, port=free_port(), log=home / "log", PREFECT_HOME=str(home)
    )
    try:
        started.await_answer()
        with temporary_settings({PREFECT_API_URL: f"{started.address}/api"}):
            yield
    finally:
        started.stop()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace whose name no other test has at the server."""
    return make_workspace(tmp_path / f"work-{uuid.uuid4().hex[:8]}", small_params())


def changed_file(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Write a copy of infra/prefect.yaml with other deployments."""
    tree = yaml.safe_load(DEFAULT_FILE.read_text(encoding="utf-8"))
    for entry in tree["deployments"]:
        change(entry)
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return file


@pytest.mark.usefixtures("server")
class TestDeploy:
    def test_twice_leaves_each_deployment_once_and_changes_nothing(self, workspace):
        first, second = (deploy(workspace) for _ in range(2))
        assert [each.change for each in first] == ["registered"] * 2
        assert [each.change for each in second] == ["unchanged"] * 2
        assert [each.id for each in first] == [each.id for each in second]
        with get_client(sync_client=True) as client:
            names = [each.name for each in client.read_deployments()]
        of_it = [name for name in names if name.endswith(workspace.name)]
        assert sorted(of_it) == [f"nightly-{workspace.name}", f"watch-{workspace.name}"]

    def test_another_time_changes_the_same_deployment(self, workspace, tmp_path):
        before = deploy(workspace)
        file = changed_file(
            tmp_path, lambda entry: entry["schedules"][0].update(cron="7 3 * * *", timezone="UTC")
        )
        after = deploy(workspace, file)
        assert [(each.id, each.change) for each in after] == [
            (each.id, "changed") for each in before
        ]
        with get_client(sync_client=True) as client:
            found = client.read_deployment_by_name(after[0].name)
            [schedule] = found.schedules
        assert after[0].when == "7 3 * * * (UTC)"
        assert getattr(schedule.schedule, "cron", None) == "7 3 * * *"
        assert found.global_concurrency_limit is not None
        assert found.global_concurrency_limit.limit == 1

    def test_a_pause_is_the_users_own(self, workspace):
        [nightly, _] = deploy(workspace)
        with get_client(sync_client=True) as client:
            client.pause_deployment(nightly.id)
            assert [each.change for each in deploy(workspace)] == ["unchanged"] * 2
            assert client.read_deployment(nightly.id).paused
            client.resume_deployment(nightly.id)

    def test_another_workspace_of_the_same_name_is_refused_and_a_moved_one_is_not(
        self, workspace, tmp_path
    ):
        deploy(workspace)
        other = make_workspace(tmp_path / "elsewhere" / workspace.name, small_params())
        with pytest.raises(
            ConfigError, match=rf"is that of {re.escape(str(workspace.root))}: give"
        ):
            deploy(other)
        shutil.rmtree(other.root)
        moved = Workspace(workspace.root.rename(other.root))
        assert [each.change for each in deploy(moved)] == ["changed"] * 2

    def test_a_schedule_makes_runs(self, workspace):
        [_, watch] = deploy(workspace)
        deadline = time.monotonic() + 60
        with get_client(sync_client=True) as client:
            while not client.get_scheduled_flow_runs_for_deployments([uuid.UUID(watch.id)]):
                assert time.monotonic() < deadline, "the server schedules nothing"
                time.sleep(0.5)


def test_a_server_that_does_not_answer_is_one_line(workspace):
    environment = os.environ | {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    done = run_stpa("deploy", "--workspace", workspace.root, env=environment)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: no Prefect server at http://127.0.0.1:9")


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with webhook_server() as server:
        yield server


@pytest.fixture
def watched(tmp_path: Path, webhook: Webhook) -> Workspace:
    """A workspace that has nothing yet, and whose source has too few videos to train on."""
    source = tmp_path / "source"
    write_dataset(source)
    params = small_params(
        data={"source": str(source)},
        notices={"webhook": f"{webhook.address}/s3cr3t"},
    )
    del params["model"]["heads"]["tsn"]
    for stream in ("rgb", "flow"):
        params["train"]["streams"][stream] |= {"epochs": 1}
    return make_workspace(tmp_path / "work", params)


def every_minute(entry: dict[str, Any]) -> None:
    """Watch each minute, and never retrain by night."""
    if entry["name"].startswith("watch"):
        entry["schedules"][0]["cron"] = "* * * * *"
        entry["parameters"]["quiet_seconds"] = 2
    else:
        entry["schedules"] = []


@pytest.fixture
def serving(
    watched: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[subprocess.Popen[str]]:
    """`stpa deploy --serve`, with a server of the workspace's own."""
    for name in [each for each in os.environ if each.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(MARK, uuid.uuid4().hex)
    command = [STPA, "deploy", "--serve", "--workspace", watched.root]
    command += ["--file", changed_file(tmp_path, every_minute)]
    for port in ("--mlflow-port", "--prefect-port"):
        command += [port, str(free_port())]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def states(workspace: Workspace) -> list[tuple[str, str]]:
    """Return the name of each flow that a schedule has run, and of the state of its run."""
    with closing(sqlite3.connect(workspace.prefect / "prefect.db")) as records:
        return records.execute(
            "SELECT substr(flow_run.name, 1, instr(flow_run.name, ' ') - 1), state_name "
            "FROM flow_run WHERE deployment_id IS NOT NULL AND state_type != 'SCHEDULED' "
            "ORDER BY expected_start_time"
        ).fetchall()


@pytest.mark.slow
@pytest.mark.usefixtures("heed_interrupts")
def test_a_video_that_comes_is_trained_on_and_told_once_and_ctrl_c_leaves_nothing(
    watched: Workspace, webhook: Webhook, serving: subprocess.Popen[str], tmp_path: Path
) -> None:
    await_moment(lambda: len(webhook.taken) == 1, serving, SECONDS_TO_RETRAIN)
    [first] = webhook.taken
    assert (first["event"], first["version"], first["workspace"]) == ("promoted", 1, "work")
    assert {reason["passed"] for reason in first["reasons"]} == {True}
    assert str(first["report"]).startswith("http://127.0.0.1:")

    await_moment(lambda: read_last(watched) is not None, serving)
    write_video(tmp_path / "source" / CLASSES[0] / "v_g07_c01.avi", seed=7)
    await_moment(lambda: len(webhook.taken) > 1, serving, SECONDS_TO_RETRAIN)
    assert webhook.taken[1]["event"] in ("promoted", "rejected")
    assert webhook.taken[1]["id"] != first["id"]
    await_moment(lambda: states(watched)[-1] == ("watch", "Unchanged"), serving)
    assert len(webhook.asked) == 2
    assert [name for name, _ in states(watched)].count("nightly") == 2

    serving.send_signal(signal.SIGINT)
    assert serving.wait(60) == 0
    await_end(os.environ[MARK])
    said = (tmp_path / "said").read_text()
    assert "watch/watch-work: registered, * * * * *" in said
    assert re.search(r"nightly work: Completed: Promoted: version 1 is served", said)
    assert "s3cr3t" not in said
    assert all(
        "s3cr3t" not in path.read_text(errors="replace")
        for folder in (watched.logs, watched.runs)
        for path in folder.rglob("*")
        if path.is_file()
    )


@pytest.mark.slow
@pytest.mark.usefixtures("heed_interrupts")
def test_a_kill_after_the_decision_leaves_its_notice_for_the_next_run(
    watched: Workspace, webhook: Webhook
) -> None:
    webhook.status = 503
    done = run_stpa("retrain", "--workspace", watched.root)
    assert done.returncode == 0, done.stderr
    assert "could not be delivered by notices.webhook" in " ".join(done.stderr.split())
    [record] = records_folder(watched).glob("*.json")
    assert read_json(record)["sent"] == {}
    webhook.status = 200
    for _ in range(2):
        done = run_stpa("retrain", "--workspace", watched.root)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("unchanged: ")
    [notice] = webhook.taken
    assert notice["event"] == "promoted"
    done = run_stpa("rollback", "--workspace", watched.root)
    assert done.returncode == 1, "there is no version before the first"
    assert len(webhook.taken) == 1
