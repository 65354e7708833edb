"""What is said of a dataset at ingest: its classes, its recordings, and what may harm."""

import pytest

from stpa.config import DataConfig, TrainConfig
from stpa.data.manifest import Manifest, Video
from stpa.data.overview import count_classes, describe, find_concerns
from tests.workspaces import make_video, small_params

DATA = DataConfig(**small_params()["data"])


def clips(label: str, count: int, *, recordings: int | None = None) -> list[Video]:
    """Return clips of a class; by default their names tell no recording."""
    videos = []
    for number in range(count):
        name = f"{label}/{number}"
        recording = number % (recordings or count)
        group = f"{name}.avi" if recordings is None else f"g{recording:02}"
        split = "test" if recording % 3 == 0 else "train"
        videos.append(make_video(name, labels=(label,), group=group, split=split))
    return videos


def concerns(*videos: list[Video], **data: str) -> list[str]:
    manifest = Manifest(tuple(video for some in videos for video in some))
    return list(find_concerns(manifest, DATA.model_copy(update=data)))


def test_classes_are_counted_by_clips_and_recordings_the_rarest_first():
    manifest = Manifest((*clips("wave", 9, recordings=6), *clips("tick", 3)))
    found = [
        (c.label, c.num_clips, c.num_recordings, c.num_train_recordings)
        for c in count_classes(manifest)
    ]
    assert found == [("tick", 3, 3, 2), ("wave", 9, 6, 4)]


def test_names_without_a_recording_are_told_with_the_pattern():
    [about_groups, *_] = concerns(clips("tick", 12), clips("tock", 24))
    assert (
        "matches none of 36 names, so every clip counts as a recording of its own" in about_groups
    )
    assert DATA.group_pattern in about_groups


def test_a_pattern_that_matches_some_names_says_which_it_does_not():
    [about_groups, *_] = concerns(clips("tick", 12, recordings=12), clips("tock", 24))
    assert "matches 12 of 36 names" in about_groups
    assert "'tock/0.avi'" in about_groups


def test_datasets_with_lists_of_their_own_need_no_pattern():
    assert concerns(clips("a", 12), clips("b", 12), dataset="csv") == []


@pytest.mark.parametrize(("recordings", "is_told"), [(4, True), (8, False)])
def test_classes_of_few_recordings_are_told(recordings, is_told):
    found = concerns(clips("a", 18, recordings=recordings), clips("b", 18, recordings=9))
    assert any(concern.startswith("'a': fewer than 4 recordings") for concern in found) == is_told


@pytest.mark.parametrize(("largest", "is_told"), [(60, False), (64, True)])
def test_classes_of_very_different_size_are_told(largest, is_told):
    found = concerns(clips("a", 12, recordings=9), clips("b", largest, recordings=9))
    assert any("always answers `b`" in concern for concern in found) == is_told


def test_the_steps_of_each_network_are_told_before_they_start():
    train = TrainConfig(**small_params(train={"batch_size": 4, "min_steps_per_epoch": 7})["train"])
    lines = list(describe(Manifest(tuple(clips("a", 9) + clips("b", 9))), train))
    epochs = train.streams["rgb"].epochs  # 12 clips to train are 3 steps: three passes over them
    assert lines[-2] == f"rgb: 12 clips to train, {epochs} epochs of 9 steps, {9 * epochs} in all"


def test_hundreds_of_classes_take_a_dozen_lines():
    manifest = Manifest(tuple(video for n in range(300) for video in clips(f"c{n:03}", 3 + n % 2)))
    lines = list(describe(manifest, TrainConfig(**small_params()["train"])))
    assert len(lines) == 12 + 1 + 2
    assert lines[12] == "and 288 classes with 3 clips or more"
