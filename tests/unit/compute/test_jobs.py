"""What a job runs and is found by, and what is said of a Jobs API that is none."""

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stpa.compute import jobs
from stpa.compute.jobs import Jobs, Work
from stpa.compute.tasks import IN_A_JOB, cluster, jobs_address, joined_address
from stpa.errors import ClusterUnavailableError, ComputeError
from tests.servers.canned import canned_server

WORK = Work("train", Path("/shared/work"), ("--stream=rgb",), "inputs")
HTTP = "http://head:8265"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", IN_A_JOB):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@contextmanager
def server(*answers: tuple[int, str]) -> Iterator[str]:
    with canned_server(*answers) as place:
        yield f"http://{place}"


class TestWork:
    @pytest.mark.parametrize(
        "name", ["plain", "two words", "it's", 'a "b"', "$HOME", "`id`;", "new\nline", "ä*?", "-x"]
    )
    def test_a_shell_gives_the_command_back_whatever_the_names(self, name):
        work = Work("retrain", Path("/shared") / name, (f"/videos/{name}",))
        line = work.entrypoint.replace("stpa", r"printf '%s\0'", 1)
        said = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=True)
        assert said.stdout.split("\0")[:-1] == [
            *("retrain", f"/videos/{name}", "--workspace", f"/shared/{name}")
        ]

    def test_the_same_work_has_one_key(self):
        assert replace(WORK).key == WORK.key
        assert re.fullmatch(r"stpa-train-[0-9a-f]{12}", WORK.key)

    @pytest.mark.parametrize(
        "change",
        [
            {"command": "retrain"},
            {"workspace": Path("/shared/other")},
            {"arguments": ()},
            {"inputs": "others"},
        ],
    )
    def test_other_work_has_another_key(self, change):
        assert replace(WORK, **change).key != WORK.key

    def test_a_job_is_found_whatever_it_was_trained_from(self):
        assert replace(WORK, inputs="others").labels == WORK.labels

    @pytest.mark.parametrize(
        ("arguments", "is_found"),
        [
            ((), True),
            (("/space.yaml",), True),
            (("--head=tsn",), True),
            (("/space.yaml", "--stream=rgb"), False),
        ],
    )
    def test_a_job_is_found_by_any_of_its_arguments(self, arguments, is_found):
        submitted = replace(WORK, arguments=("/space.yaml", "--stream=flow", "--head=tsn"))
        sought = replace(submitted, arguments=arguments)
        assert (sought.labels.items() <= submitted.labels.items()) is is_found


class TestAddress:
    @pytest.mark.parametrize(
        ("address", "environment", "joined", "submits"),
        [
            (None, None, None, False),
            (None, "head:6379", "head:6379", False),
            (None, HTTP, HTTP, True),
            ("head:6379", HTTP, "head:6379", False),
            ("ray://head:10001", None, "ray://head:10001", False),
            (HTTP, "head:6379", HTTP, True),
            ("https://head", None, "https://head", True),
        ],
    )
    def test_compute_address_goes_before_the_environment(
        self, address, environment, joined, submits, monkeypatch
    ):
        if environment:
            monkeypatch.setenv("RAY_ADDRESS", environment)
        assert joined_address(address) == joined
        assert jobs_address(address) == (joined if submits else None)

    def test_a_job_joins_the_cluster_that_it_runs_on(self, monkeypatch):
        monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
        monkeypatch.setenv(IN_A_JOB, "{}")
        assert joined_address(HTTP) == "10.0.0.1:6379"
        assert jobs_address(HTTP) is None
        assert joined_address("other:6379") == "other:6379"

    def test_a_command_that_is_no_job_is_refused_with_what_to_do(self):
        with (
            pytest.raises(ComputeError, match=r"as host:6379 or ray://host:10001$"),
            cluster(HTTP),
        ):
            pass


def refused(address: str) -> str:
    with pytest.raises(ClusterUnavailableError) as caught:
        Jobs(address)
    message = str(caught.value)
    assert message.startswith(f"no Ray cluster at {address} (")
    assert "\n" not in message
    return message


class TestUnreachable:
    def test_nobody_listens(self):
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        assert "correct compute.address or RAY_ADDRESS" in refused(f"http://127.0.0.1:{port}")

    def test_a_server_that_says_nothing_is_given_up(self, monkeypatch):
        monkeypatch.setattr(jobs, "ANSWER_SECONDS", (0.5, 0.5))
        with socket.create_server(("127.0.0.1", 0)) as silent:
            refused(f"http://127.0.0.1:{silent.getsockname()[1]}")

    @pytest.mark.parametrize(
        ("status", "body"), [(200, "<html>"), (200, "[]"), (200, "{}"), (404, ""), (500, "")]
    )
    def test_a_server_that_is_no_jobs_api(self, status, body):
        with server((status, body)) as address:
            refused(address)

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_cluster_that_wants_a_token(self, status):
        with server((status, "")) as address:
            assert "give its token: RAY_AUTH_MODE=token" in refused(address)

    def test_ray_address_does_not_lead_elsewhere(self, monkeypatch):
        with server((200, "[]")) as other, server((404, "")) as address:
            monkeypatch.setenv("RAY_ADDRESS", other)
            assert "404" in refused(address)


VERSION = (200, json.dumps({"ray_version": "2.60.0"}))
BUSY = (503, "the head node restarts")


def details(status: str, **values: Any) -> tuple[int, str]:
    job = {"type": "SUBMISSION", "submission_id": "job", "entrypoint": "stpa", "status": status}
    return 200, json.dumps(job | values)


def log(text: str) -> tuple[int, str]:
    return 200, json.dumps({"logs": text})


class TestFollow:
    @pytest.fixture(autouse=True)
    def _no_pause(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(jobs, "POLL_SECONDS", 0.0)
        monkeypatch.setattr("tenacity.nap.time.sleep", lambda _seconds: None)

    def follow(self, *answers: tuple[int, str]) -> list[str]:
        shown: list[str] = []
        with server(VERSION, VERSION, *answers) as address:
            Jobs(address).follow("job", shown.append)
        return shown

    def test_each_part_of_the_log_is_shown_once(self):
        running, ended = details("RUNNING"), details("SUCCEEDED")
        assert self.follow(
            *(details("PENDING"), log("")),
            *(running, log("1/3\n")),
            *(running, log("1/3\n")),
            *(ended, log("1/3\ndone\n")),
        ) == ["1/3\n", "done\n"]

    def test_a_head_node_that_is_silent_for_a_while_loses_nothing(self):
        assert self.follow(
            *(details("RUNNING"), log("1/3\n")),
            *(BUSY, BUSY),
            *(details("RUNNING"), BUSY),
            *(details("SUCCEEDED"), log("1/3\ndone\n")),
        ) == ["1/3\n", "done\n"]

    @pytest.mark.parametrize(
        ("job", "told"),
        [
            (details("STOPPED"), "job job was stopped: the same command without --attach goes on"),
            (details("FAILED", driver_exit_code=127, message="x"), "job job found no `stpa`: inst"),
            (details("FAILED", message="logs:\nerror: no videos\n"), "job job failed: no videos$"),
            (details("FAILED"), "job job failed: Ray does not say why$"),
        ],
    )
    def test_a_job_that_did_not_succeed_is_an_error(self, job, told):
        with pytest.raises(ComputeError, match=f"^{told}"):
            self.follow(job, log(""))
