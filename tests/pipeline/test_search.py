"""Searches on a real Ray cluster: early stopping, faults, and one that is killed."""

import json
import re
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray.util import placement_group_table

from stpa.compute.search import Attempt, run_trials
from stpa.compute.tasks import cluster
from stpa.config import ComputeConfig
from stpa.data.manifest import read_manifest
from stpa.errors import RegistryUnavailableError
from stpa.files import read_records
from stpa.params import load_config
from stpa.registry.tracking import Tracker, open_tracker
from stpa.search.study import Outcome
from stpa.stages.extract import extract
from stpa.stages.ingest import ingest
from stpa.stages.initialise import initialise
from stpa.stages.search import search
from stpa.stages.search_plan import read_plan
from stpa.stages.search_result import SearchResult
from stpa.streams import RGB
from stpa.workspace import Workspace
from tests.unit.training.test_fit import make_job
from tests.workspaces import (
    CLASSES,
    kill_stpa,
    make_video,
    make_workspace,
    run_stpa,
    small_params,
    write_plain_video,
    write_video,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    # Of Ray's own code, when it first makes a ray.data context.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]

NUM_EPOCHS = 3
NUM_RECORDINGS = 6
NUM_TRIALS = 8
SECONDS_TO_RELEASE = 30.0

PLAN: dict[str, Any] = {
    "trials": NUM_TRIALS,
    "folds": 3,
    "max_concurrent": None,
    "early_stopping": {"grace_epochs": 1, "reduction_factor": 2},
    "space": {
        "train.streams.rgb.learning_rate": {"choices": [1e-9, 0.004, 0.008, 0.016]},
        "train.num_segments": {"choices": [2, 3]},
    },
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace without its test videos: whoever opens one fails."""
    source = tmp_path_factory.mktemp("videos")
    for level, label in zip((10, 210), CLASSES, strict=True):
        for group in range(NUM_RECORDINGS):
            write_plain_video(source / label / f"v_g{group:02}_c01.avi", level)
    params = small_params(train={"freeze_batch_norm": "all"})
    params["train"]["streams"]["rgb"] |= {"epochs": NUM_EPOCHS, "dropout": 0}
    workspace = make_workspace(tmp_path_factory.mktemp("prepared"), params)
    config = load_config(workspace.params)
    ingest(workspace, config, source)
    extract(workspace, config)
    tests = read_manifest(workspace.manifest).select("test")
    assert tests
    for video in tests:
        (workspace.videos / video.path).unlink()
        (workspace.optical_flow / video.flow_path).unlink()
    return workspace


@pytest.fixture
def workspace(prepared: Workspace, tmp_path: Path) -> Workspace:
    return Workspace(shutil.copytree(prepared.root, tmp_path / "copy", symlinks=True))


def write_plan(workspace: Workspace, **changes: Any) -> Path:
    path = workspace.root / "space.yaml"
    path.write_text(yaml.safe_dump(PLAN | changes, sort_keys=False))
    return path


def run_search(workspace: Workspace, **changes: Any) -> SearchResult:
    config = load_config(workspace.params)
    plan = read_plan(write_plan(workspace, **changes), config)
    return search(workspace, config, plan, RGB, "stpa")


def open_runs(workspace: Workspace) -> tuple[Tracker, list[Any]]:
    """Return the nested runs of the workspace's only search."""
    tracker = open_tracker(workspace, load_config(workspace.params).tracking)
    experiments = [each.experiment_id for each in tracker.client.search_experiments()]
    runs = list(tracker.client.search_runs(experiments))
    [parent] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert parent.info.status == "FINISHED"
    nested = [run for run in runs if run.info.run_id != parent.info.run_id]
    assert {run.data.tags["mlflow.parentRunId"] for run in nested} == {parent.info.run_id}
    return tracker, nested


def trial_number(run: Any) -> int:
    [number] = re.findall(r"^trial-(\d+)-rgb-stpa-", run.info.run_name)
    return int(number)


def held_placement_groups() -> list[str]:
    return [name for name, group in placement_group_table().items() if group["state"] != "REMOVED"]


def test_poor_trials_stop_early_and_nothing_is_held_when_the_search_has_ended(workspace):
    with cluster(None):
        result = run_search(workspace)
        deadline = time.monotonic() + SECONDS_TO_RELEASE
        while held := held_placement_groups():
            assert time.monotonic() < deadline, f"still held: {held}"
            time.sleep(0.2)
        free = ray.available_resources()["CPU"]
        assert free == ray.cluster_resources()["CPU"]
    outcomes = Counter(trial.outcome for trial in result.trials)
    assert outcomes[Outcome.STOPPED] >= 1
    assert outcomes[Outcome.FINISHED] >= 1
    assert outcomes.total() == NUM_TRIALS
    for trial in result.trials:
        finished = trial.outcome is Outcome.FINISHED
        assert finished == (list(trial.figures) == [1, 2, NUM_EPOCHS])
    best = result.trials[0]
    assert best.figure == 1

    tracker, nested = open_runs(workspace)
    assert Counter(run.data.tags["outcome"] for run in nested) == outcomes
    rates = {
        trial.number: trial.values["train.streams.rgb.learning_rate"] for trial in result.trials
    }
    for run in nested:
        number = trial_number(run)
        assert run.data.params["train.streams.rgb.learning_rate"] == str(rates[number])
        assert run.info.status == "FINISHED"
        assert len(tracker.logged_steps(run.info.run_id, "validation/top1")) >= 1

    initialise(workspace, result.params)
    found = load_config(workspace.params).train
    assert found.streams["rgb"].learning_rate == best.values["train.streams.rgb.learning_rate"]
    assert found.num_segments == best.values["train.num_segments"]
    assert found.streams["rgb"].epochs == NUM_EPOCHS


def test_a_killed_search_goes_on_with_what_has_not_ended(workspace):
    plan = write_plan(workspace, trials=4, early_stopping=None, max_concurrent=2)
    arguments = ("search", plan, "--stream", "rgb", "--workspace", workspace.root)
    folder = workspace.runs / "search"

    def record() -> list[dict[str, Any]]:
        files = folder.glob("*/trials.jsonl")
        return [trial for file in files for trial in read_records(file, json.loads)]

    def half_way() -> bool:
        ended = {line["number"] for line in record() if line["outcome"]}
        return any(line["figures"] and line["number"] not in ended for line in record() if ended)

    kill_stpa(*arguments, when=half_way)
    before = record()
    ended = {line["number"] for line in before if line["outcome"]}
    done = run_stpa(*arguments)
    assert done.returncode == 0, done.stderr
    after = record()
    assert after[: len(before)] == before
    assert ended.isdisjoint(line["number"] for line in after[len(before) :])
    last = {line["number"]: line for line in after}
    assert sorted(last) == [1, 2, 3, 4]
    assert {line["outcome"] for line in last.values()} == {"finished"}
    _, nested = open_runs(workspace)
    assert sorted(map(trial_number, nested)) == sorted(last)
    assert {run.info.status for run in nested} == {"FINISHED"}
    assert {path.name for path in next(folder.iterdir()).iterdir()} == {
        "done.json",
        "trials.jsonl",
        "trials.png",
    }

    started = time.monotonic()
    again = run_stpa(*arguments)
    assert again.returncode == 0, again.stderr
    assert "unchanged: " in again.stdout
    assert record() == after
    assert time.monotonic() - started < 60


class Script:
    """Trials that are written down beforehand."""

    def __init__(self, attempts: list[Attempt], error: Exception | None = None) -> None:
        self.attempts = attempts
        self.error = error
        self.epochs: dict[int, list[float]] = {}
        self.ends: dict[int, str | None] = {}

    def start(self) -> Attempt | None:
        return self.attempts.pop(0) if self.attempts else None

    def on_epoch(self, number: int, metrics: dict[str, float]) -> None:
        if self.error:
            raise self.error
        self.epochs.setdefault(number, []).append(metrics["epoch"])

    def on_end(self, number: int, fault: str | None) -> None:
        self.ends[number] = fault


def run_script(tmp_path: Path, rates: list[float], error: Exception | None = None) -> Script:
    for index in range(6):
        write_video(tmp_path / "videos" / f"{index}.avi", seed=index)
    job = make_job(tmp_path / "videos")
    object.__setattr__(
        job, "validation", tuple(make_video(str(n), labels=("left",)) for n in (4, 5))
    )
    attempts = []
    for number, rate in enumerate(rates):
        rgb = job.train.streams["rgb"].model_copy(update={"learning_rate": rate})
        train = job.train.model_copy(update={"streams": {"rgb": rgb}})
        attempts.append(Attempt(number, job.model, train, epochs_done=0))
    script = Script(attempts, error)
    with cluster(None):
        run_trials(
            script,
            job,
            num_trials=len(attempts),
            folder=tmp_path / "checkpoints",
            early_stopping=None,
            max_epochs=job.train.streams["rgb"].epochs,
            max_concurrent=None,
            compute=ComputeConfig(**small_params()["compute"]),
            decode_seconds=60.0,
        )
    return script


def test_a_trial_that_fails_is_told_and_the_others_go_on(tmp_path):
    script = run_script(tmp_path, [1e30, 1e-3])
    assert script.epochs[1] == [1, 2, 3]
    assert script.ends[1] is None
    fault = script.ends[0]
    assert fault is not None
    assert fault.startswith("the loss is ")
    assert "lower the stream's learning_rate" in fault


def test_a_fault_of_who_listens_ends_the_search_as_it_is(tmp_path):
    with pytest.raises(RegistryUnavailableError, match=r"^gone$"):
        run_script(tmp_path, [1e-3, 1e-3], RegistryUnavailableError("gone"))
