"""The names and steps that metrics have in a real MLflow store."""

from collections.abc import Callable

import numpy as np
import pytest

from stpa.config import EvaluateConfig
from stpa.evaluation.scores import Scores
from stpa.registry.tracking import Tracker, default_uri
from stpa.stages.tracked_metrics import track_epoch, track_test_metrics, tracked_epochs
from stpa.workspace import Workspace
from tests.workspaces import small_params

RIGHT = {1: 1, 3: 4, 5: 2}
"""By K, how many of four videos are named rightly."""


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return Tracker(default_uri(Workspace(tmp_path_factory.mktemp("tracked"))), "e")


@pytest.fixture
def run(tracker: Tracker, request: pytest.FixtureRequest) -> str:
    return tracker.open_run(request.node.name, "rgb", {}, {})


@pytest.fixture
def scores() -> Scores:
    labels = np.eye(4, dtype=bool)
    wrong = np.roll(labels, 1, axis=0)
    logits = {
        k: np.concatenate([labels[:right], wrong[right:]]).astype(np.float32)
        for k, right in RIGHT.items()
    }
    return Scores("rgb", "stpa", "key", "data", tuple("abcd"), False, tuple("wxyz"), labels, logits)


def judged(num_segments: int, num_crops: int = 1) -> EvaluateConfig:
    changes = {"num_segments": num_segments, "num_crops": num_crops, "sweep": list(RIGHT)}
    return EvaluateConfig.model_validate(small_params(evaluate=changes)["evaluate"])


def history(tracker: Tracker, run: str) -> Callable[[str], dict[int, float]]:
    def of(metric: str) -> dict[int, float]:
        return {m.step: m.value for m in tracker.client.get_metric_history(run, metric)}

    return of


def test_an_epochs_metrics_are_grouped_and_have_it_as_step(tracker: Tracker, run: str):
    metrics = {"epoch": 2.0, "loss": 0.5, "validation/top1": 0.75, "system/cpu": 90.0}
    track_epoch(tracker, run, metrics)
    logged = tracker.client.get_run(run).data.metrics
    assert logged == {"train/loss": 0.5, "validation/top1": 0.75, "system/cpu": 90.0}
    assert tracked_epochs(tracker, run) == {2}


def test_a_run_of_an_earlier_version_has_no_epoch_yet(tracker: Tracker, run: str):
    tracker.log_metrics(run, {"loss": 0.5}, step=1)
    assert tracked_epochs(tracker, run) == set()


def test_what_was_judged_is_one_value_though_the_largest_k_is_another(
    tracker: Tracker, run: str, scores: Scores
):
    for k in (5, 3, 3):
        track_test_metrics(tracker, run, scores, judged(k))
        data = tracker.client.get_run(run).data
        assert data.metrics["test/top1"] == RIGHT[k] / 4
        assert data.tags["test.num_segments"] == str(k)
    assert history(tracker, run)("k_sweep/top1") == {k: right / 4 for k, right in RIGHT.items()}
    assert len(tracker.client.get_metric_history(run, "k_sweep/top1")) == len(RIGHT)
    assert len(tracker.client.get_metric_history(run, "test/top1")) == 2


def test_another_number_of_crops_is_another_series(tracker: Tracker, run: str, scores: Scores):
    track_test_metrics(tracker, run, scores, judged(3))
    scores.logits[3] = scores.logits[1]
    track_test_metrics(tracker, run, scores, judged(3, num_crops=10))
    of = history(tracker, run)
    assert (of("k_sweep/top1")[3], of("k_sweep/top1_10_crops")[3]) == (1.0, 0.25)
    data = tracker.client.get_run(run).data
    assert (data.metrics["test/top1"], data.tags["test.num_crops"]) == (0.25, "10")
