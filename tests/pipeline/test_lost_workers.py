"""A training over two nodes of a real Ray cluster that loses a worker, a node, or its submitter."""

import logging
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray.cluster_utils import Cluster
from safetensors.torch import load_file

from stpa.compute.tasks import cluster
from stpa.compute.train import NOTICE_STEPS, fit_on_cluster
from stpa.config import ComputeConfig
from stpa.errors import ComputeError, InterruptedTrainingError
from stpa.interruption import leaving_when_asked
from stpa.models.checkpoint import WEIGHTS_FILE
from stpa.params import load_config
from stpa.registry.tracking import open_tracker
from stpa.training.job import TrainingJob
from tests.unit.training.test_fit import assert_same_tensors, losses, make_job, write_videos
from tests.workspaces import copy_data, run_stpa, small_params, weights

pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    # Of Ray's own code.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

logger = logging.getLogger(__name__)

NUM_EPOCHS = 5
NUM_STEPS = 2 * NUM_EPOCHS
NUM_REPEATS = 200
"""Of the videos, two steps each, for an epoch that a node is lost in."""
OnStep = Callable[[int], None]


class Nodes:
    """A cluster of a head without processors and nodes with one each."""

    def __init__(self, num_nodes: int) -> None:
        self._cluster = Cluster(True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self._nodes = [self._cluster.add_node(num_cpus=1) for _ in range(num_nodes)]
        self.address = self._cluster.address
        self._hit: set[int] = set()
        """The workers that were there at the last kill."""

    def workers(self) -> list[psutil.Process]:
        """Return the training's processes."""
        raylets = [node.all_processes["raylet"][0].process.pid for node in self._nodes]
        found = []
        for raylet in raylets:
            with suppress(psutil.Error):
                for child in psutil.Process(raylet).children(recursive=True):
                    if "RayTrainWorker" in " ".join(child.cmdline()):
                        found.append(child)
        return found

    def has_recovered(self) -> bool:
        """Tell whether as many workers as nodes are there, none of which was at the last kill."""
        there = {worker.pid for worker in self.workers()}
        return len(there) == len(self._nodes) and there.isdisjoint(self._hit)

    def kill_one(self) -> None:
        """Kill a node's processes, as a machine that is cut off."""
        self._hit = {worker.pid for worker in self.workers()}
        self._cluster.remove_node(self._nodes.pop(), allow_graceful=False)

    def give_notice(self) -> None:
        """Tell the cluster, as a cloud does, that the node of the next kill is about to go."""
        subprocess.run(
            [
                *(Path(sys.executable).with_name("ray"), "drain-node"),
                *(f"--address={self.address}", f"--node-id={self._nodes[-1].node_id}"),
                *("--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=taken away"),
                "--deadline-remaining-seconds=120",
            ],
            check=True,
            capture_output=True,
        )

    def add_one(self) -> None:
        self._nodes.append(self._cluster.add_node(num_cpus=1))

    def kill_worker(self) -> None:
        """Kill one of the training's processes."""
        workers = self.workers()
        self._hit = {worker.pid for worker in workers}
        random.choice(workers).kill()

    def stop(self) -> None:
        self._cluster.shutdown()


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    nodes = Nodes(2)
    try:
        with cluster(nodes.address):
            yield nodes
    finally:
        nodes.stop()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_videos(tmp_path_factory.mktemp("videos"))


def fit(root: Path, storage: Path, on_step: OnStep = lambda done: None, **compute: Any) -> Path:
    """Train by two workers, with a checkpoint after each step; return the last one."""
    return fit_job(make_job(root, num_epochs=NUM_EPOCHS), storage, on_step, **compute)


def fit_job(
    job: TrainingJob, storage: Path, on_step: OnStep = lambda done: None, **compute: Any
) -> Path:
    settings = {"workers_per_stream": 2, "checkpoint_steps": 1, "max_restarts": 3} | compute
    checkpoint = fit_on_cluster(
        job,
        storage=str(storage),
        compute=ComputeConfig(**(small_params()["compute"] | settings)),
        decode_seconds=60.0,
        on_epoch=lambda metrics: None,
        on_step=lambda done, total, means: on_step(done),
    )
    return Path(checkpoint.path)


class Once:
    """Calls a function when so many steps are done, and counts that it did."""

    def __init__(self, step: int, function: Callable[[], None]) -> None:
        self.step, self.function, self.called = step, function, 0

    def __call__(self, done: int) -> None:
        if done >= self.step and not self.called:
            self.called += 1
            self.function()


@pytest.fixture
def undisturbed(nodes, root, tmp_path) -> Path:
    return fit(root, tmp_path / "undisturbed")


def test_lost_a_worker_and_then_a_node_it_ends_as_if_undisturbed(
    nodes, root, tmp_path, undisturbed
):
    def replace_node() -> None:
        nodes.kill_one()
        nodes.add_one()

    steps = sorted(random.sample(range(1, NUM_STEPS // 2), 2))
    logger.warning("faults after steps %s", steps)
    faults = [Once(steps[0], nodes.kill_worker), Once(steps[1], replace_node)]

    def disturb(done: int) -> None:
        for fault in faults:
            if not fault.called and nodes.has_recovered():
                fault(done)

    disturbed = fit(root, tmp_path / "disturbed", disturb)
    assert [fault.called for fault in faults] == [1, 1]
    assert_same_tensors(disturbed / WEIGHTS_FILE, undisturbed / WEIGHTS_FILE)
    assert losses(disturbed) == losses(undisturbed)


def test_told_that_a_node_goes_it_keeps_the_steps_of_an_epoch(nodes, root, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "0.2")
    job = make_job(root, num_epochs=1)
    job = replace(job, videos=job.videos * NUM_REPEATS)
    storage = tmp_path / "noticed"
    steps = []
    notice = Once(1, nodes.give_notice)

    def take_away() -> None:
        nodes.kill_one()
        nodes.add_one()
        steps.clear()

    loss = Once(1, take_away)

    def disturb(done: int) -> None:
        steps.append(done)
        notice(done)
        if any(storage.glob("checkpoint_*/progress.json")):
            loss(done)

    noticed = fit_job(job, storage, disturb, checkpoint_steps=None)
    assert [notice.called, loss.called] == [1, 1]
    assert NOTICE_STEPS < min(done for done in steps if done) < 2 * NUM_REPEATS
    undisturbed = fit_job(job, tmp_path / "undisturbed", checkpoint_steps=None)
    assert_same_tensors(noticed / WEIGHTS_FILE, undisturbed / WEIGHTS_FILE)
    assert losses(noticed) == losses(undisturbed)


def test_both_streams_train_at_once_over_the_nodes(nodes, retrained, tmp_path):
    workspace = copy_data(retrained, tmp_path / "work", nodes.address)
    done = run_stpa("train", "--head", "stpa", "--workspace", workspace.root)
    assert done.returncode == 0, done.stderr
    expected = weights(retrained)
    assert weights(workspace) == {name: expected[name] for name in ("rgb-stpa", "flow-stpa")}
    tracker = open_tracker(workspace, load_config(workspace.params).tracking)
    experiments = [each.experiment_id for each in tracker.client.search_experiments()]
    runs = [run.info for run in tracker.client.search_runs(experiments)]
    # Of two nodes with a processor each: so each had one.
    assert max(run.start_time or 0 for run in runs) < min(run.end_time or 0 for run in runs)


def test_with_too_few_nodes_left_it_goes_on_with_fewer_workers(nodes, root, tmp_path):
    fault = Once(2, nodes.kill_one)
    checkpoint = fit(root, tmp_path / "elastic", fault, fewest_workers=1)
    assert fault.called == 1
    assert len(losses(checkpoint)) == NUM_EPOCHS
    assert load_file(checkpoint / WEIGHTS_FILE)


def test_lost_too_often_it_is_given_up_in_one_line(nodes, root, tmp_path):
    fault = Once(1, nodes.kill_worker)
    with pytest.raises(ComputeError, match=r"^training failed, 0 restarts allowed: "):
        fit(root, tmp_path / "lost", fault, max_restarts=0)


def test_sigterm_leaves_with_a_checkpoint_that_it_goes_on_from(nodes, root, tmp_path, undisturbed):
    def notice() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    left = tmp_path / "left"
    with leaving_when_asked(), pytest.raises(InterruptedTrainingError, match="stopped as asked"):
        fit(root, left, Once(1, notice), checkpoint_steps=None)
    again = []
    resumed = fit(root, left, again.append, checkpoint_steps=None)
    assert min(done for done in again if done) > 1
    assert_same_tensors(resumed / WEIGHTS_FILE, undisturbed / WEIGHTS_FILE)
