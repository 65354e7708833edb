"""What is found to be done, and measured, of a workspace that a retraining has run in."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from stpa.compute.tasks import cluster
from stpa.config import Config
from stpa.params import load_config
from stpa.stages import measure as measuring
from stpa.stages.estimate import log_estimate
from stpa.stages.measure import measure
from stpa.stages.workload import find_workload
from stpa.workspace import Workspace
from tests.workspaces import NUM_EPOCHS, make_workspace, small_params

NETWORKS = ("rgb stpa", "flow stpa", "rgb tsn", "flow tsn")


@pytest.fixture
def workspace(retrained: Workspace, tmp_path: Path) -> Workspace:
    """A copy of `retrained`, to take results from."""
    root = tmp_path / "copy"
    shutil.copytree(retrained.root, root, ignore=shutil.ignore_patterns("mlflow", "registered"))
    return Workspace(root)


def change(workspace: Workspace, **changes: dict) -> Config:
    make_workspace(workspace.root, small_params(**changes))
    return load_config(workspace.params)


def remove(workspace: Workspace, pattern: str) -> None:
    for path in list(workspace.root.glob(pattern)):
        path.unlink()


def test_after_a_retraining_nothing_is_to_do(retrained):
    work = find_workload(retrained, load_config(retrained.params))
    assert work.is_empty
    assert tuple(work.jobs) == NETWORKS
    assert len(work.videos) == 8


def test_what_is_missing_is_to_do_and_all_that_comes_of_it(workspace):
    config = load_config(workspace.params)
    remove(workspace, "runs/evaluate/rgb-tsn-*.parquet")
    assert find_workload(workspace, config).to_evaluate == ("rgb tsn",)
    remove(workspace, "runs/train/flow-stpa-*/done.json")
    work = find_workload(workspace, config)
    assert work.to_train == ("flow stpa",)
    assert work.to_evaluate == ("flow stpa", "rgb tsn")
    assert work.to_extract == ()


def test_other_flow_is_another_version_which_flow_networks_and_all_scores_depend_on(workspace):
    work = find_workload(workspace, change(workspace, optical_flow={"bound_px": 10.0}))
    assert work.to_extract == work.videos
    assert work.to_train == ("flow stpa", "flow tsn")
    assert work.to_evaluate == NETWORKS


def test_before_the_first_extraction_all_is_to_do(workspace):
    (workspace.root / "dvc.lock").unlink()
    shutil.rmtree(workspace.optical_flow)
    work = find_workload(workspace, load_config(workspace.params))
    assert work.to_extract == work.videos
    assert work.to_train == work.to_evaluate == NETWORKS


class TestMeasuring:
    @pytest.fixture(autouse=True)
    def _local_cluster(self) -> Iterator[None]:
        with cluster(None):
            yield

    @pytest.fixture(autouse=True)
    def _however_busy_the_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(measuring, "MAX_SECONDS", 500.0)

    def test_each_kind_of_work_is_measured(self, workspace):
        config = change(workspace, optical_flow={"bound_px": 10.0})
        speed = measure(workspace, config, find_workload(workspace, config))
        assert tuple(sorted(speed.networks)) == tuple(sorted(NETWORKS))
        for times in speed.networks.values():
            assert 0 < times.clip_seconds < 60
            assert 0 < times.frame_seconds < 60
        assert 0 < speed.read_seconds < 60
        assert 0 < speed.extract_seconds < 60
        assert speed.num_extractions == speed.num_evaluations >= speed.num_trainings >= 1

    def test_the_estimate_tells_of_the_work_and_the_time(self, workspace, caplog):
        caplog.set_level(logging.INFO, logger="stpa.stages.estimate")
        remove(workspace, "runs/train/flow-stpa-*/done.json")
        log_estimate(workspace, load_config(workspace.params))
        train, evaluate, unchanged, in_all = caplog.messages
        steps = f"{2 * NUM_EPOCHS} steps"
        assert train.startswith(f"to do: train 1 network (flow stpa {steps}): about ")
        assert evaluate.startswith("to do: evaluate 1 network on 4 test videos: about ")
        assert unchanged.startswith("unchanged: the optical flow of 8 videos; trained are rgb stpa")
        assert in_all.startswith("in all about ")


def test_measuring_is_given_up_on_a_machine_that_is_too_busy(workspace, monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="stpa.stages.estimate")
    monkeypatch.setattr(measuring, "MAX_SECONDS", 0.1)
    remove(workspace, "runs/evaluate/rgb-tsn-*.parquet")
    with cluster(None):
        log_estimate(workspace, load_config(workspace.params))
    assert caplog.messages[-1] == (
        "how long that takes cannot be estimated: measuring took over 0 s"
    )


def test_nothing_is_measured_where_nothing_is_to_do_or_the_work_is_done_elsewhere(
    workspace, monkeypatch, caplog
):
    caplog.set_level(logging.INFO, logger="stpa.stages.estimate")
    monkeypatch.delattr("stpa.stages.estimate.measure")
    log_estimate(workspace, load_config(workspace.params))
    [line] = caplog.messages
    assert line.startswith("unchanged: the optical flow of 8 videos; trained are ")
    remove(workspace, "runs/evaluate/rgb-tsn-*.parquet")
    log_estimate(workspace, change(workspace, compute={"address": "head:6379"}))
    assert caplog.messages[-1] == (
        "how long that takes cannot be estimated: the work is done elsewhere, on the cluster at "
        "head:6379"
    )
