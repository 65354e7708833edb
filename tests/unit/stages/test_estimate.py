"""What a retraining is said to have to do, and how long that is thought to take."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stpa.config import Config
from stpa.data.manifest import Manifest
from stpa.data.storage import Folder
from stpa.params import check_params
from stpa.progress import format_duration
from stpa.stages.estimate import Estimate, describe, estimate_seconds
from stpa.stages.measure import Speed
from stpa.stages.training_job import unmeasured_job
from stpa.stages.workload import Workload
from stpa.streams import FLOW, RGB
from stpa.training.timing import NetworkTimes
from tests.workspaces import NUM_EPOCHS, make_video, small_params

NETWORKS = ("rgb stpa", "flow stpa", "rgb tsn", "flow tsn")
NUM_TRAIN, NUM_TEST, NUM_FRAMES = 5, 4, 100
STEPS = NUM_EPOCHS * 3
"""Of batches of 2 clips."""
SPEED = Speed(
    start_seconds=10.0,
    read_seconds=0.25,
    extract_seconds=0.5,
    networks=dict.fromkeys(NETWORKS, NetworkTimes(clip_seconds=1.0, frame_seconds=0.75)),
    num_extractions=2,
    num_trainings=2,
    num_evaluations=2,
)


def make_config(**changes: dict[str, Any]) -> Config:
    return check_params(small_params(**changes), Path("params.yaml"))


def make_work(config: Config, **changes: Any) -> Workload:
    videos = [
        make_video(f"v{n}", split="train" if n < NUM_TRAIN else "test", num_frames=NUM_FRAMES)
        for n in range(NUM_TRAIN + NUM_TEST)
    ]
    manifest = Manifest(tuple(videos))
    jobs = {
        f"{stream} {head}": unmeasured_job(manifest, config, stream, head, Folder(Path()))
        for head in ("stpa", "tsn")
        for stream in (RGB, FLOW)
    }
    work = Workload(
        videos=tuple(videos),
        test_videos=tuple(manifest.select("test")),
        to_extract=tuple(videos),
        num_extracted=0,
        to_store={},
        jobs=jobs,
        to_train=NETWORKS,
        to_hold_out=(),
        to_evaluate=NETWORKS,
    )
    return replace(work, **changes)


TRAINING = 3 * 10 + NUM_EPOCHS * 5 * (1 + 3 * 0.25)
"""One network, after three processes have started: each of 5 clips per epoch takes its part of a
step, and 3 frames to read."""


def test_time_is_what_was_measured_times_what_there_is_to_do():
    config = make_config()
    estimate = estimate_seconds(config, make_work(config), SPEED)
    assert estimate.extract == 10 + 9 * NUM_FRAMES * 0.5 / 2
    assert estimate.train == 2 * TRAINING
    # K of 1 and of 3 share their middle frame.
    assert estimate.evaluate == 10 + 4 * NUM_TEST * 3 * (0.25 + 0.75) / 2
    assert estimate.trainings_at_once == 2
    assert estimate.total == estimate.extract + estimate.train + estimate.evaluate


def test_what_is_done_takes_no_time():
    config = make_config()
    work = make_work(config, to_extract=(), to_train=("flow tsn",), to_evaluate=())
    assert estimate_seconds(config, work, SPEED) == Estimate(0.0, 0.0, TRAINING, 0.0, 0.0, 1)


def test_trainings_take_turns_where_there_is_no_room_for_two():
    config = make_config()
    estimate = estimate_seconds(config, make_work(config), replace(SPEED, num_trainings=1))
    assert estimate.train == 4 * TRAINING
    assert estimate.trainings_at_once == 1


@pytest.mark.parametrize(
    ("changes", "clip_seconds"),
    [
        ({"loader_processes": 1}, 1.0),  # that read 3 frames meanwhile
        ({"loader_processes": 0, "workers_per_stream": 2}, 1.75 / 2),
    ],
)
def test_loader_processes_read_meanwhile_and_workers_share_each_step(changes, clip_seconds):
    config = make_config(compute=changes)
    work = make_work(config, to_train=("rgb stpa",))
    assert estimate_seconds(config, work, SPEED).train == 30 + NUM_EPOCHS * 5 * clip_seconds


def test_heads_that_hold_videos_out_train_in_processes_that_stay():
    config = make_config(
        model={"freeze": "backbone", "pretrained": True},
        train={"min_steps_per_epoch": 6},
        evaluate={"late_fusion": "fitted"},
    )
    work = make_work(config, to_extract=(), to_train=(), to_hold_out=NETWORKS, to_evaluate=())
    estimate = estimate_seconds(config, work, SPEED)
    num_clips = work.jobs["rgb stpa"].num_steps * work.jobs["rgb stpa"].clips_per_step
    assert estimate.hold_out == 10 + 4 * 2 * num_clips  # three folds by two at once
    assert estimate.total == estimate.hold_out
    assert next(describe(work, estimate)) == (
        "to do: score training videos by 12 heads that have not seen their recordings: about "
        f"{format_duration(estimate.hold_out)}"
    )


def test_features_are_computed_once_per_view_and_heads_read_nothing():
    config = make_config(
        model={"freeze": "backbone", "pretrained": True}, train={"stored_views": 3}
    )
    work = make_work(config)
    work = replace(work, to_store={RGB: work.videos, FLOW: work.videos[:1]})
    estimate = estimate_seconds(config, work, SPEED)
    # K of 1 and of 3 share their middle frame.
    assert estimate.store == 10 + 9 * 3 * (0.25 + 3 * 0.75) / 2 + 10 + 3 * (0.25 + 3 * 0.75)
    assert estimate.train == 2 * (10 + NUM_EPOCHS * 5)
    assert estimate.evaluate == 10
    [told] = [line for line in describe(work, estimate) if "features" in line]
    assert told == "to do: features of videos (9 by rgb, 1 by flow): about 61 s"


def test_all_that_is_to_do_is_told_with_its_time():
    steps = ", ".join(f"{name} {STEPS} steps" for name in NETWORKS)
    assert list(describe(make_work(make_config()), Estimate(62.0, 0.0, 720.0, 0.0, 60.0, 2))) == [
        "to do: optical flow of 9 videos (900 frames): about 62 s",
        f"to do: train 4 networks, 2 at once ({steps}): about 12 min",
        "to do: evaluate 4 networks on 4 test videos: about 60 s",
        "in all about 14 min",
    ]


def test_where_the_time_is_unknown_the_steps_are_told_alone_and_why():
    work = make_work(make_config(), to_train=("rgb tsn",), to_evaluate=("rgb tsn",))
    assert list(describe(work, None, "measuring took over 60 s")) == [
        "to do: optical flow of 9 videos (900 frames)",
        f"to do: train 1 network (rgb tsn {STEPS} steps)",
        "to do: evaluate 1 network on 4 test videos",
        "unchanged: trained are rgb stpa, flow stpa, flow tsn; "
        "evaluated are rgb stpa, flow stpa, flow tsn",
        "how long that takes cannot be estimated: measuring took over 60 s",
    ]


def test_where_all_is_done_that_is_all_that_is_told():
    work = make_work(make_config(), to_extract=(), num_extracted=9, to_train=(), to_evaluate=())
    names = ", ".join(NETWORKS)
    assert list(describe(work, None)) == [
        f"unchanged: the optical flow of 9 videos; trained are {names}; evaluated are {names}"
    ]
