import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from stpa.data import clips, transforms
from stpa.data.clips import ClipReader, TrainClips, stored_frames
from stpa.data.crops import CropSource
from stpa.data.decode import read_frames
from stpa.data.manifest import Video
from stpa.data.storage import Folder
from stpa.errors import DataError
from stpa.optical_flow.codec import write_flow_video
from stpa.streams import FLOW, RGB, Stream
from tests.workspaces import make_video

CLASS_NAMES = ("row", "swim")


def video(name: str, label: str, num_frames: int = 20) -> Video:
    return make_video(name, labels=(label,), num_frames=num_frames, height=48)


VIDEOS = [video("a", "swim"), video("b", "row")]


@pytest.fixture(scope="module")
def root(tmp_path_factory, write_video) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    path = write_video(folder / "a.avi", num_frames=20)
    shutil.copy(path, folder / "b.avi")
    return folder


@pytest.fixture
def train_clips(root) -> TrainClips:
    return make_clips(root)


def make_clips(root: Path, stream: Stream = RGB, class_names=CLASS_NAMES, **changes) -> TrainClips:
    options = {"input_size": 32, "scales": (1.0, 0.75), "horizontal_flip": True}
    seed = changes.pop("seed", 0)
    source = CropSource(ClipReader(stream, Folder(root), short_side=40), **(options | changes))
    return TrainClips(VIDEOS, class_names, source, num_segments=3, seed=seed)


@pytest.fixture
def flow_stack(monkeypatch) -> np.ndarray:
    """Stand in for stored flow: channel c of frame i is 10 i + c."""
    levels = 10 * np.arange(3)[:, None] + np.arange(10)
    stack = np.broadcast_to(levels[..., None, None], (3, 10, 32, 48)).astype(np.uint8)
    monkeypatch.setattr(clips, "read_flow_stacks", lambda path, starts, length: stack)
    return stack


def test_large_frames_are_resized_one_by_one(tmp_path, write_video):
    write_video(tmp_path / "large.avi", 24, 640, 480)
    large = make_video("large", labels=("swim",), num_frames=24, height=480)
    reader = ClipReader(RGB, Folder(tmp_path), short_side=48)
    tracemalloc.start()
    try:
        clip = reader.read(large, range(24))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert clip.shape == (24, 3, 48, 64)
    num_bytes = 640 * 480 * 3
    assert peak < 6 * num_bytes
    [frame] = read_frames(tmp_path / "large.avi", [7])
    whole = np.ascontiguousarray(frame.transpose(2, 0, 1))[None]
    assert np.array_equal(clip[7], transforms.resize_short_side(whole, 48)[0])


def test_an_item_has_its_frames_label_and_place(train_clips):
    item = train_clips[1]
    assert item["frames"].shape == (3, 3, 32, 32)
    assert item["frames"].dtype == torch.uint8
    assert (item["target"].tolist(), item["index"]) == ([1, 0], 1)


def test_an_epoch_draws_the_same_clips_again(root, train_clips):
    train_clips.set_epoch(4)
    resumed = make_clips(root)
    resumed.set_epoch(4)
    assert torch.equal(resumed[1]["frames"], train_clips[1]["frames"])


@pytest.mark.parametrize("changed", ["epoch", "seed", "video"])
def test_other_epochs_seeds_and_videos_draw_other_clips(root, train_clips, changed):
    other = make_clips(root, seed=1 if changed == "seed" else 0)
    other.set_epoch(1 if changed == "epoch" else 0)
    place = 1 if changed == "video" else 0
    assert not torch.equal(other[place]["frames"], train_clips[0]["frames"])


def test_a_further_pass_over_the_videos_draws_other_clips_of_them(train_clips):
    again = train_clips[len(VIDEOS)]
    assert (again["index"], again["target"].tolist()) == (0, train_clips[0]["target"].tolist())
    assert not torch.equal(again["frames"], train_clips[0]["frames"])
    assert train_clips.video(len(VIDEOS) + 1) == VIDEOS[1]


def test_training_draws_one_frame_from_each_third_of_a_video(root):
    drawn = make_clips(root, horizontal_flip=False, scales=(1.0,))
    for epoch in range(20):
        drawn.set_epoch(epoch)
        levels = drawn[0]["frames"][:, :, 24:, 16:].float().mean(dim=(1, 2, 3)) / 4
        assert (levels.round() / 6).int().tolist() == [0, 1, 2]


def test_clips_are_not_flipped_where_the_mirror_image_is_another_class(root):
    assert not any(is_flipped(root, epoch, horizontal_flip=False) for epoch in range(20))


def test_half_the_clips_are_flipped(root):
    assert 4 < sum(is_flipped(root, epoch, horizontal_flip=True) for epoch in range(20)) < 16


def is_flipped(root: Path, epoch: int, horizontal_flip: bool) -> bool:
    """Look on which side the bright square of the upper left is."""
    drawn = make_clips(root, horizontal_flip=horizontal_flip, scales=(0.9,))
    drawn.set_epoch(epoch)
    top = drawn[0]["frames"][0, 0, 4:8].float()
    return bool(top[:, -4:].mean() > top[:, :4].mean())


@pytest.mark.parametrize("stream", [RGB, FLOW])
def test_clips_are_read_in_chunks_as_they_are_at_once(root, tmp_path, stream):
    levels = np.arange(0, 190, 10, dtype=np.uint8)[:, None, None, None]
    planes = np.broadcast_to(levels, (19, 2, 32, 48))
    write_flow_video(tmp_path / "a.avi", planes, width=48, height=32, provenance={})
    reader = ClipReader(stream, Folder(root if stream == "rgb" else tmp_path), short_side=24)
    positions = np.array([2, 3, 10, 14])
    whole = reader.read(VIDEOS[0], positions)
    assert whole.shape[0] == 4
    assert min(whole.shape[2:]) == 24
    shown = whole[:, 0, 20:, 20:].mean(axis=(1, 2))
    assert shown == pytest.approx(positions * (4 if stream == "rgb" else 10), abs=3)
    chunks = list(reader.read_chunks(VIDEOS[0], positions, 3))
    assert [len(chunk) for chunk in chunks] == [3, 1]
    np.testing.assert_array_equal(np.concatenate(chunks), whole)


def test_frames_to_be_cropped_later_come_whole_with_what_was_drawn(root):
    now, later = make_clips(root, scales=(0.8,)), make_clips(root, scales=(0.8,), crop_later=True)
    mirrored = set()
    for epoch in range(8):
        now.set_epoch(epoch)
        later.set_epoch(epoch)
        item = later[0]
        assert item["frames"].shape == (3, 3, 40, 53)
        assert "box" in item
        assert "mirrored" in item
        top, left, height, width = item["box"].tolist()
        assert height == width == 32, "no resizing, so that the crops are equal"
        cut = item["frames"][:, :, top : top + height, left : left + width]
        mirrored.add(item["mirrored"])
        assert torch.equal(cut.flip(-1) if item["mirrored"] else cut, now[0]["frames"])
    assert mirrored == {True, False}


def test_flow_has_one_frame_less_and_five_to_a_stack():
    assert stored_frames(VIDEOS[0], RGB) == (20, 1)
    assert stored_frames(VIDEOS[0], FLOW) == (19, 5)


def test_flow_clips_keep_their_ten_channels(root, flow_stack):
    item = make_clips(root, stream=FLOW, horizontal_flip=False)[0]
    assert item["frames"].shape == (3, 10, 32, 32)
    assert item["frames"][:, :, 5, 5].tolist() == flow_stack[:, :, 5, 5].tolist()


def test_flipped_flow_changes_the_sign_of_x(root, flow_stack):
    both = make_clips(root, stream=FLOW)
    seen = set()
    for epoch in range(12):
        both.set_epoch(epoch)
        x, y = both[0]["frames"][1, :2, 5, 5].tolist()
        seen.add((x, y))
    assert seen == {(10, 11), (245, 11)}


def test_a_video_that_no_longer_decodes_is_named(tmp_path):
    (tmp_path / "a.avi").write_text("overwritten")
    with pytest.raises(DataError, match=r"a\.avi does not decode"):
        make_clips(tmp_path)[0]


def test_a_label_that_is_no_class_is_refused(root):
    with pytest.raises(DataError, match=r"\['swim'\] are not among the classes"):
        make_clips(root, class_names=("row",))
