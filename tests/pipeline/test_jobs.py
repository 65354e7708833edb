"""Work on a cluster that runs already: as a job, by Ray Client, and two flows at once."""

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import ray
import yaml

from stpa.compute.jobs import Jobs, Work
from stpa.compute.tasks import IN_A_JOB, cluster
from stpa.files import digest_file, read_json
from stpa.workspace import Workspace
from tests.servers.ray_head import RayHead, ray_head
from tests.workspaces import (
    STPA,
    await_moment,
    checkpointed,
    copy_data,
    kill_stpa,
    make_workspace,
    run_stpa,
    small_params,
    weights,
)

pytestmark = pytest.mark.slow

NUM_CPUS = 2
ATTACH = ("train", "--attach", "--workspace")
TRAIN_RGB = ("train", "--stream", "rgb", "--head", "stpa", "--workspace")


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    with ray_head(NUM_CPUS) as running:
        yield running


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", IN_A_JOB):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@dataclass(frozen=True)
class Followed:
    """A job whose submitter was killed, and what was said of it to those who came after."""

    workspace: Workspace
    attached: str
    """While it ran."""
    submitted_again: str
    attached_afterwards: CompletedProcess[str]


def hold(released: Path) -> None:
    """Run in a worker: take its place until `released` is there."""
    while not released.exists():
        time.sleep(0.2)


def start(output: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    """Start the command line, and return when it has said something."""
    with output.open("w") as said:
        process = subprocess.Popen([STPA, *arguments], stdout=said, text=True)
    await_moment(lambda: output.stat().st_size > 0, process)
    return process


@pytest.fixture(scope="module")
def followed(
    retrained: Workspace, head: RayHead, tmp_path_factory: pytest.TempPathFactory
) -> Followed:
    """Kill the submitter and attach others while the job waits for room on the cluster."""
    place = tmp_path_factory.mktemp("jobs")
    workspace = copy_data(retrained, place / "it's my\nwörk $HOME", head.jobs)
    with cluster(head.address):
        ray.remote(num_cpus=NUM_CPUS)(hold).remote(place / "released")
        kill_stpa(*TRAIN_RGB, workspace.root, when=workspace.mlflow.exists)
        followers = [
            start(place / "attached", *ATTACH, workspace.root),
            start(place / "submitted", *TRAIN_RGB, workspace.root),
        ]
        assert not checkpointed(workspace)
        (place / "released").touch()
        for follower in followers:
            assert follower.wait(timeout=600) == 0
    return Followed(
        workspace,
        attached=(place / "attached").read_text(),
        submitted_again=(place / "submitted").read_text(),
        attached_afterwards=run_stpa(*ATTACH, workspace.root),
    )


class TestJob:
    def test_it_outlives_its_submitter_and_is_found_again(self, followed):
        [model] = followed.workspace.runs.glob("train/*/result/model")
        assert followed.attached.endswith(f"{model}\n")
        assert "done train rgb stpa" in followed.attached

    def test_it_gives_what_a_training_on_this_machine_gives(self, followed, retrained):
        assert weights(followed.workspace) == {"rgb-stpa": weights(retrained)["rgb-stpa"]}

    def test_the_same_work_is_not_submitted_twice(self, followed):
        first, *log = followed.submitted_again.splitlines()
        assert first.startswith("job stpa-train-")
        assert first.endswith("-1 runs already")
        assert log == followed.attached.splitlines()

    def test_the_last_job_can_be_looked_at_when_it_has_ended(self, followed):
        assert followed.attached_afterwards.returncode == 0
        assert followed.attached_afterwards.stdout == followed.attached

    def test_its_log_has_no_control_characters(self, followed):
        printed = followed.attached.replace("\n", "")
        assert printed.isprintable()

    def test_work_that_has_ended_is_submitted_anew(self, followed):
        done = run_stpa(*TRAIN_RGB, followed.workspace.root)
        assert done.returncode == 0, done.stderr
        assert "-2 is submitted" in done.stdout
        assert "unchanged: " in done.stdout

    def test_other_commands_are_refused_with_what_to_do(self, followed):
        done = run_stpa("evaluate", "--workspace", followed.workspace.root)
        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        assert "give compute.address as host:6379 or ray://host:10001" in line

    def test_doctor_tells_that_the_cluster_takes_jobs(self, followed, head):
        done = run_stpa("doctor", "--workspace", followed.workspace.root)
        assert f"{head.jobs} takes jobs" in " ".join(done.stdout.split())


@pytest.mark.usefixtures("heed_interrupts")
def test_a_job_goes_on_after_an_interrupt_until_it_is_stopped(retrained, head, tmp_path):
    streams = small_params()["train"]["streams"]
    streams["rgb"] |= {"epochs": 10_000}
    workspace = copy_data(retrained, tmp_path / "work", head.jobs, streams=streams)
    process = subprocess.Popen(
        [STPA, *TRAIN_RGB, workspace.root], stdout=subprocess.PIPE, text=True
    )
    await_moment(lambda: bool(checkpointed(workspace)), process)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    [last] = said.splitlines()[-1:]
    command = f"stpa train --stream=rgb --head=stpa --workspace {workspace.root}"
    assert f" goes on; `{command} --attach` follows it, `{command} --stop` ends it" in last

    stopped = run_stpa("train", "--stop", "--workspace", workspace.root)
    assert stopped.stdout.endswith(" is stopped\n")
    attached = run_stpa("train", "--attach", "--workspace", workspace.root)
    assert attached.returncode == 1
    assert "was stopped: the same command without --attach goes on" in attached.stderr
    again = run_stpa("train", "--stop", "--workspace", workspace.root)
    assert again.stdout.endswith(" had ended\n")


def test_the_fault_of_a_job_is_its_followers(head, tmp_path):
    params = small_params(compute={"address": head.jobs})
    workspace = make_workspace(tmp_path / "empty", params)
    done = run_stpa(*TRAIN_RGB, workspace.root)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("error: job stpa-train-")
    assert line.endswith(
        f"-1 failed: {workspace.root} has no versioned dataset: run `stpa ingest` first"
    )
    attached = run_stpa("train", "--attach", "--workspace", workspace.root)
    assert (attached.returncode, attached.stderr) == (1, done.stderr)


def test_no_job_to_attach_to_is_one_line(head, tmp_path):
    workspace = make_workspace(tmp_path, small_params(compute={"address": head.jobs}))
    for option in ("--attach", "--stop"):
        done = run_stpa("retrain", option, "--workspace", workspace.root)
        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        assert f"has had no job `stpa retrain --workspace {workspace.root}`" in line


def test_of_two_who_submit_at_the_same_time_one_starts_the_job(head, tmp_path):
    jobs = Jobs(head.jobs)
    work = Work("doctor", tmp_path)
    with ThreadPoolExecutor() as pool:
        submitted = list(pool.map(jobs.submit, [work] * 8))
    assert {job for job, _ in submitted} == {f"{work.key}-1"}
    assert [started for _, started in submitted].count(True) == 1
    jobs.stop(f"{work.key}-1")


def test_the_whole_job_runs_in_the_cluster(retrained, head, tmp_path):
    workspace = copy_data(retrained, tmp_path / "work", head.jobs)
    done = run_stpa("retrain", "--workspace", workspace.root)
    assert done.returncode == 0, done.stderr
    assert "champion is version 1" in done.stdout
    assert weights(workspace) == weights(retrained)


def test_a_search_runs_in_the_cluster_and_other_plans_are_other_jobs(retrained, head, tmp_path):
    workspace = copy_data(retrained, tmp_path / "work", head.jobs)
    space = workspace.root / "my space.yaml"
    plan = {
        "trials": 2,
        "folds": 2,
        "max_concurrent": None,
        "early_stopping": None,
        "space": {"train.streams.rgb.learning_rate": {"choices": [0.1, 0.01]}},
    }
    space.write_text(yaml.safe_dump(plan))
    search = ("search", space, "--stream", "rgb", "--workspace", workspace.root)
    done = run_stpa(*search)
    assert done.returncode == 0, done.stderr
    [job] = re.findall(r"^job (stpa-search-\w+-1) is submitted$", done.stdout, re.MULTILINE)
    [best] = workspace.root.glob("search-*.yaml")
    assert best.name in done.stdout
    attached = run_stpa("search", space, "--attach", "--workspace", workspace.root)
    assert done.stdout == f"job {job} is submitted\n{attached.stdout}"

    space.write_text(yaml.safe_dump(plan | {"trials": 3}))
    more = run_stpa(*search)
    assert more.returncode == 0, more.stderr
    assert job not in more.stdout


def test_ray_client_gives_what_this_machine_gives(retrained, head, tmp_path):
    workspace = copy_data(retrained, tmp_path / "work", head.client)
    shutil.rmtree(workspace.optical_flow)
    for command in ("extract", "train", "evaluate"):
        options = () if command == "extract" else ("--stream", "flow", "--head", "stpa")
        done = run_stpa(command, *options, "--workspace", workspace.root)
        assert done.returncode == 0, done.stderr
    assert weights(workspace) == {"flow-stpa": weights(retrained)["flow-stpa"]}
    [scores] = workspace.runs.glob("evaluate/*.parquet")
    [expected] = retrained.runs.glob(f"evaluate/{scores.name}")
    assert digest_file(scores) == digest_file(expected)


def test_two_flows_at_once_give_what_each_gives_alone(retrained, head, tmp_path):
    alone = copy_data(retrained, tmp_path / "alone", head.address, seed=1)
    done = run_stpa("retrain", "--workspace", alone.root)
    assert done.returncode == 0, done.stderr
    expected = {0: retrained, 1: alone}
    at_once = {
        seed: copy_data(retrained, tmp_path / f"seed {seed}", head.address, seed=seed)
        for seed in expected
    }
    with ThreadPoolExecutor() as pool:
        runs = [
            pool.submit(run_stpa, "retrain", "--workspace", workspace.root)
            for workspace in at_once.values()
        ]
        for run in runs:
            assert run.result().returncode == 0, run.result().stderr
    assert weights(at_once[0]) != weights(at_once[1])
    for seed, workspace in at_once.items():
        assert weights(workspace) == weights(expected[seed])
        summary, wanted = read_json(workspace.summary), read_json(expected[seed].summary)
        assert summary["k_sweep"] == wanted["k_sweep"]
        assert summary["outcome"] == "promoted"
