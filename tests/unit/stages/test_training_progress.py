"""What is told of a training that goes on."""

import logging
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from stpa.stages import training_progress
from stpa.stages.training_progress import TrainingProgress, describe_epoch
from stpa.training.job import TrainingJob
from tests.unit.training.test_fit import make_job

MEASURED = {"loss": 0.9123, "top1": 0.714, "videos_per_second": 14.23}


class Clock:
    """Seconds that go by as a test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(training_progress, "time", clock)
    return clock


@pytest.fixture
def job() -> TrainingJob:
    """3 epochs of 2 steps of 2 clips."""
    return make_job(Path())


@pytest.fixture
def reported() -> list[Any]:
    return []


@pytest.fixture
def progress(job: TrainingJob, clock: Clock, reported: list[Any]) -> TrainingProgress:
    return TrainingProgress(job, lambda *report: reported.append(report))


def test_a_step_is_told_by_its_epoch_the_means_so_far_the_speed_and_the_time_left(
    progress, reported, clock
):
    for done, means in zip(count(1), [{}, MEASURED, {}]):
        clock.now += 4.0
        progress.on_step(done, 6, means)
    assert reported[0] == (1, 6, {"epoch": "1/3", "step": "1/2"})
    told = {"loss": "0.912", "training accuracy": "0.71"}
    speed = {"clips/s": "0.5"}
    assert reported[1] == (
        2,
        6,
        {"epoch": "1/3", "step": "2/2", **told, **speed, "time left": "16 s"},
    )
    # The first step of an epoch has no means yet: those before stay.
    assert reported[2] == (
        3,
        6,
        {"epoch": "2/3", "step": "1/2", **told, **speed, "time left": "12 s"},
    )


def test_each_epoch_ends_with_a_line(progress, clock, caplog):
    caplog.set_level(logging.INFO)
    for done in (1, 2):
        clock.now += 60.0
        progress.on_step(done, 6, {})
    progress.on_epoch(MEASURED | {"epoch": 1.0})
    assert caplog.messages == [
        "rgb stpa: epoch 1 of 3: loss 0.912, training accuracy 0.71, 14.2 clips/s, 4 min left"
    ]


@pytest.mark.parametrize(
    ("judged", "told"),
    [
        ({}, "training accuracy 0.71"),
        ({"validation/top1": 0.5}, "held-out accuracy 0.50"),
        ({"validation/map": 0.25}, "held-out mAP 0.25"),
    ],
)
def test_accuracy_is_that_on_held_out_clips_where_there_are_any(judged, told):
    line = describe_epoch("rgb stpa", MEASURED | judged | {"epoch": 3.0}, 3)
    assert line == f"rgb stpa: epoch 3 of 3: loss 0.912, {told}, 14.2 clips/s"
