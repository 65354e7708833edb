"""The whole flow by the real command line: what it leaves, does again, and survives."""

import json
import math
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import av
import pytest

from stpa.config import Config
from stpa.data.manifest import read_manifest
from stpa.data.versioning import read_version
from stpa.files import digest_file, read_json
from stpa.models.checkpoint import WEIGHTS_FILE
from stpa.params import load_config, load_part
from stpa.params.parts import PredictParams
from stpa.registry.tracking import Tracker, open_tracker
from stpa.registry.tracking.connection import unheard_warnings
from stpa.registry.tracking.runs import flatten
from stpa.stages.predict import predict
from stpa.stages.unchanged import record_path
from stpa.workspace import Workspace
from tests.pipeline.conftest import Interrupted
from tests.workspaces import (
    NUM_EPOCHS,
    all_runs,
    kill_stpa,
    kind_of,
    make_workspace,
    run_stpa,
    small_params,
)

TRAININGS = {"rgb-stpa", "flow-stpa", "rgb-tsn", "flow-tsn"}
MODELS = ("small-rgb", "small-flow", "small-fusion")


@pytest.fixture(scope="module")
def config(retrained: Workspace) -> Config:
    return load_config(retrained.params)


@pytest.fixture
def tracker(retrained: Workspace, config: Config) -> Tracker:
    return open_tracker(retrained, config.tracking)


def all_versions(tracker: Tracker) -> list[tuple[str, int]]:
    found = tracker.client.search_model_versions()
    return sorted((version.name, int(version.version)) for version in found)


def histories(workspace: Workspace) -> dict[str, list[dict[str, float]]]:
    """Map each finished training's folder to what was measured in its epochs."""
    found = (workspace.runs / "train").glob("*/result/progress.json")
    return {path.parents[1].name: read_json(path)["history"] for path in found}


def results(workspace: Workspace) -> dict[str, int]:
    """Map each file below runs/ to the time it was written."""
    files = (path for path in workspace.runs.rglob("*") if path.is_file())
    return {str(path): path.stat().st_mtime_ns for path in files}


def assert_done_once(tracker: Tracker) -> None:
    runs = all_runs(tracker)
    assert sorted(map(kind_of, runs)) == sorted([*TRAININGS, "fusion-stpa"])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert all_versions(tracker) == sorted((name, 1) for name in MODELS)


class TestResults:
    def test_the_summary_has_the_figures(self, retrained):
        summary = read_json(retrained.summary)
        for name in ("rgb_top1", "flow_top1", "fused_top1", "tsn_fused_top1"):
            assert 0 <= summary[name] <= 1
        assert summary["k_sweep"].keys() == {"rgb", "flow", "fused"}
        for stream, by_k in summary["k_sweep"].items():
            assert by_k.keys() == {"1", "3"}
            assert by_k["3"] == summary[f"{stream}_top1"]
        assert summary["champion_version"] == 1
        assert summary["data_version"] == read_version(retrained.root).id
        assert summary["seconds"] > 0

    def test_the_report_tells_figures_decision_and_data(self, retrained):
        summary, page = read_json(retrained.summary), retrained.report.read_text(encoding="utf-8")
        assert f"<td>{100 * summary['fused_top1']:.1f}</td>" in page
        assert summary["data_version"] in page
        assert "version 1 is served" in page
        assert page.count('<img src="data:image/svg+xml;') == 5
        assert 1 <= page.count('<img src="data:image/webp;') <= 3
        assert len(page) < 2_000_000

    def test_the_report_lists_what_each_training_found(self, retrained):
        page = retrained.report.read_text(encoding="utf-8")
        for training in TRAININGS:  # of a few steps each
            stream, head = training.split("-")
            assert f"<li>{stream}, {head}: only " in page

    def test_each_run_and_each_version_is_there_once(self, tracker):
        assert_done_once(tracker)

    def test_the_aliases_name_the_first_versions(self, tracker):
        for name in MODELS:
            assert tracker.registered(name).aliases == {"challenger": 1, "champion": 1}

    def test_every_run_carries_its_lineage_and_all_parameters(
        self, interrupted: Interrupted, tracker, config
    ):
        data = read_version(interrupted.workspace.root)
        for run in all_runs(tracker):
            tags = run.data.tags
            assert tags["git.commit"] == interrupted.commit
            assert tags["data.version"] == data.id
            for part, digest in asdict(data).items():
                assert tags[f"data.{part}"] == digest
            assert run.data.params == dict(flatten(config.model_dump(mode="json")))

    def test_a_training_has_each_epoch_in_mlflow(self, tracker):
        for run in all_runs(tracker):
            if kind_of(run) in TRAININGS:
                losses = tracker.client.get_metric_history(run.info.run_id, "train/loss")
                assert {loss.step for loss in losses} == set(range(1, NUM_EPOCHS + 1))

    def test_the_registered_model_answers_as_predict_does(
        self, retrained, tracker, monkeypatch, tmp_path
    ):
        with unheard_warnings():
            import mlflow.pyfunc
        # In the environment: set_tracking_uri() would outlive this test, and overrule it there.
        monkeypatch.setenv("MLFLOW_TRACKING_URI", tracker.uri)
        served = mlflow.pyfunc.load_model("models:/small-fusion@champion")
        params = load_part(retrained.params, PredictParams)
        for video in read_manifest(retrained.manifest).select("test")[:2]:
            path = retrained.videos / video.path
            [scores] = served.predict([str(path)])
            prediction = predict(retrained, params, path, tmp_path / "picture.png")
            [(best, _probability)] = prediction.best(1)
            assert best == prediction.class_names[scores.index(max(scores))]
            assert (tmp_path / "picture.png").stat().st_size > 1000

    def test_attention_is_drawn_in_a_picture_and_a_film(self, retrained, tmp_path):
        [video, *_] = read_manifest(retrained.manifest).select("test")
        done = run_stpa(
            *("attention", retrained.videos / video.path, "--k", "2", "--maps", "1"),
            *("--picture", tmp_path / "a.png", "--workspace", retrained.root),
        )
        assert done.returncode == 0, done.stderr
        assert "by small-fusion version 1 (champion)" in done.stdout
        (tmp_path / "b.mp4").write_bytes(b"mine")
        refused = run_stpa(
            *("attention", tmp_path / "b.mp4", "--picture", tmp_path / "b.png"),
            *("--workspace", retrained.root),
        )
        assert refused.returncode == 1
        assert "the film would replace the video" in refused.stderr
        assert (tmp_path / "b.mp4").read_bytes() == b"mine"
        assert (tmp_path / "a.png").stat().st_size > 1000
        with av.open(str(tmp_path / "a.mp4")) as container:
            assert sum(1 for _ in container.decode(video=0)) > 2


class TestTold:
    """Of the second `stpa retrain`, which finds the flow of the first one, and no network."""

    @pytest.fixture
    def told(self, interrupted: Interrupted) -> str:
        return " ".join(interrupted.told.split())

    def test_what_is_to_do_is_told_before_it_starts(self, told):
        before, _, _ = told.partition("epoch 2 of")
        steps = rf"\(rgb stpa {2 * NUM_EPOCHS} steps, "
        assert re.search(rf"to do: train 4 networks(, 2 at once)? {steps}", before)
        assert "to do: evaluate 4 networks on 4 test videos" in before
        assert "unchanged: the optical flow of 8 videos" in before
        assert "in all about" in before or "cannot be estimated: measuring took over" in before

    def test_each_network_tells_its_turn_and_its_epochs(self, told):
        for turn, name in enumerate(("rgb stpa", "flow stpa", "rgb tsn", "flow tsn"), start=1):
            assert f"done train {name}, {turn} of 4 (" in told
        # After the kill, workers of the first two may have gone on to their last epoch unheard.
        for name in ("rgb tsn", "flow tsn"):
            line = rf"{name}: epoch {NUM_EPOCHS} of {NUM_EPOCHS}: loss -?\d+\.\d\d\d, "
            assert re.search(rf"{line}training accuracy \d\.\d\d, \d+\.\d clips/s ", told)

    def test_the_log_files_tell_the_same_and_the_answer(self, interrupted: Interrupted, told):
        killed, ended, *_ = sorted(interrupted.workspace.logs.glob("*-retrain.log"))
        assert "ended after" not in killed.read_text(encoding="utf-8")
        log = ended.read_text(encoding="utf-8")
        for line in re.findall(r"rgb tsn: epoch .*? clips/s", told):
            assert line in log
        assert "INFO stpa.terminal: done train flow tsn, 4 of 4 (" in log
        assert "promoted: champion is version 1" in log
        assert "ended after" in log


class TestAgain:
    def test_a_killed_training_went_on_from_its_checkpoint(self, interrupted: Interrupted):
        finished = histories(interrupted.workspace)
        assert interrupted.first_epochs
        for folder, first_epoch in interrupted.first_epochs.items():
            # The speed of an epoch is never measured the same twice.
            assert finished[folder][0] == first_epoch
        for history in finished.values():
            assert [epoch["epoch"] for epoch in history] == list(range(1, NUM_EPOCHS + 1))

    def test_a_second_run_redoes_nothing_and_says_so(self, retrained, tracker):
        record_path(retrained).unlink()  # else it would not look
        before, version = results(retrained), read_version(retrained.root)
        done = run_stpa("retrain", "--workspace", retrained.root.name, cwd=retrained.root.parent)
        assert done.returncode == 0, done.stderr
        after = results(retrained)
        del after[str(record_path(retrained))]
        assert after == before
        assert read_version(retrained.root) == version
        assert_done_once(tracker)
        assert read_json(retrained.summary)["outcome"] == "unchanged"
        said = " ".join((done.stderr + done.stdout).split())
        assert "the dataset has not changed" in said
        assert "the optical flow of all 8 videos is there" in said
        assert said.count("is trained already from the same inputs") == len(TRAININGS)
        assert said.count("is evaluated already") == len(TRAININGS)
        assert "unchanged: champion is version 1" in said
        [line] = [line for line in done.stdout.splitlines() if " predict " in line]
        assert line.endswith(f"-w '{retrained.root.name}'")
        tried = subprocess.run(
            line, shell=True, cwd=retrained.root.parent, capture_output=True, text=True
        )
        assert "by small-fusion version 1 (champion)" in tried.stdout, tried.stderr

    def test_an_unchanged_one_is_answered_before_anything_starts(self, retrained, source):
        before = results(retrained)
        for arguments in ([], [source]):
            done = run_stpa("retrain", *arguments, "--workspace", retrained.root)
            assert done.returncode == 0, done.stderr
            assert done.stdout.startswith("unchanged: videos, parameters and code are those of the")
            assert done.stderr == ""
        assert results(retrained) == before


@pytest.mark.slow
class TestWorkers:
    @pytest.fixture
    def workspace(self, retrained: Workspace, tmp_path: Path) -> Workspace:
        """The data of `retrained`, without its results."""
        root = tmp_path / "copy"
        shutil.copytree(retrained.root, root, ignore=shutil.ignore_patterns("runs", "mlflow"))
        return Workspace(root)

    def test_two_processes_train_one_network(self, workspace):
        compute = {"workers_per_stream": 2, "cpus_per_worker": 0.5}
        make_workspace(workspace.root, small_params(compute=compute))
        done = run_stpa(
            *("train", "--stream", "flow", "--head", "stpa", "--workspace", workspace.root)
        )
        assert done.returncode == 0, done.stderr
        [history] = histories(workspace).values()
        assert len(history) == NUM_EPOCHS
        assert all(math.isfinite(epoch["loss"]) for epoch in history)

    def test_more_processors_than_there_are_is_one_line(self, workspace):
        make_workspace(workspace.root, small_params(compute={"cpus_per_worker": 1000}))
        done = run_stpa("train", "--workspace", workspace.root)
        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        assert "training with 1 worker(s) needs 1000 CPU" in line
        assert "change the compute section of params.yaml" in line


def registered(workspace: Workspace, count: int) -> bool:
    """Tell whether so many model versions are there, while others may be writing."""
    database = workspace.mlflow / "mlflow.db"
    if not database.exists():
        return False
    connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)
    try:
        return connection.execute("select count(*) from model_versions").fetchone()[0] >= count
    except sqlite3.OperationalError:  # the tables are being made
        return False
    finally:
        connection.close()


MOMENTS: dict[str, Callable[[Workspace], bool]] = {
    "copying": lambda w: any(w.videos.rglob("*.avi")),
    "probing": lambda w: (w.runs / "probes.jsonl").exists(),
    "versioning": lambda w: (w.root / ".dvc").exists(),
    "extracting": lambda w: any(w.optical_flow.rglob("*.avi")),
    "committing": lambda w: len(list(w.optical_flow.rglob("*.avi"))) == 8,
    "starting to train": lambda w: any(w.runs.glob("train/*/checkpoints")),
    "training": lambda w: any(w.runs.glob("train/*/checkpoints/checkpoint_manager_snapshot.json")),
    "keeping a network": lambda w: any(w.runs.glob("train/*/result")),
    "training the next": lambda w: len(list(w.runs.glob("train/*/done.json"))) >= 2,
    "evaluating": lambda w: any(w.runs.glob("evaluate/*.parquet")),
    "registering": lambda w: registered(w, 1),
    "promoting": lambda w: registered(w, 3),
    "reporting": lambda w: w.report.exists(),
}
"""In the order in which they come true, each for good."""


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_as_if_undisturbed(retrained, source, tmp_path):
    workspace = make_workspace(tmp_path / "killed", small_params())
    retrain = ("retrain", source, "--workspace", workspace.root)
    for moment in MOMENTS.values():
        if not moment(workspace):
            kill_stpa(*retrain, when=lambda moment=moment: moment(workspace))
    done = run_stpa(*retrain)
    assert done.returncode == 0, done.stderr

    assert_done_once(open_tracker(workspace, load_config(workspace.params).tracking))
    assert read_version(workspace.root) == read_version(retrained.root)
    assert weights(workspace) == weights(retrained)
    figures = [json.loads(each.summary.read_text()) for each in (workspace, retrained)]
    for summary in figures:
        del summary["seconds"], summary["outcome"]
    assert figures[0] == figures[1]


def weights(workspace: Workspace) -> dict[str, str]:
    found = workspace.runs.glob(f"train/*/result/model/{WEIGHTS_FILE}")
    return {path.parents[2].name: digest_file(path) for path in found}
