import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from stpa.data import clips
from stpa.data.clips import TrainClips, load_clip, load_test_clip, stored_frames
from stpa.data.manifest import Video
from stpa.errors import DataError
from tests.workspaces import make_video

CLASS_NAMES = ("row", "swim")


def video(name: str, label: str, num_frames: int = 20) -> Video:
    return make_video(name, label=label, num_frames=num_frames, height=48)


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


def make_clips(root: Path, **changes) -> TrainClips:
    options = {
        "stream": "rgb",
        "root": root,
        "num_segments": 3,
        "input_size": 32,
        "short_side": 40,
        "scales": [1.0, 0.75],
        "horizontal_flip": True,
        "seed": 0,
    }
    return TrainClips(VIDEOS, CLASS_NAMES, **(options | changes))


@pytest.fixture
def flow_stack(monkeypatch) -> np.ndarray:
    """Stand in for stored flow: channel c of frame i is 10 i + c."""
    levels = 10 * np.arange(3)[:, None] + np.arange(10)
    stack = np.broadcast_to(levels[..., None, None], (3, 10, 32, 48)).astype(np.uint8)
    monkeypatch.setattr(clips, "read_flow_stacks", lambda path, starts, length: stack)
    return stack


def test_an_item_has_its_frames_label_and_place(train_clips):
    item = train_clips[1]
    assert item["frames"].shape == (3, 3, 32, 32)
    assert item["frames"].dtype == torch.uint8
    assert (item["label"], item["index"]) == (0, 1)


def test_items_can_be_batched_by_several_processes(train_clips):
    [batch] = DataLoader(train_clips, batch_size=2, num_workers=2)
    assert batch["frames"].shape == (2, 3, 3, 32, 32)
    assert batch["label"].tolist() == [1, 0]


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


def test_training_draws_one_frame_from_each_third_of_a_video(root):
    drawn = make_clips(root, horizontal_flip=False, scales=[1.0])
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
    drawn = make_clips(root, horizontal_flip=horizontal_flip, scales=[0.9])
    drawn.set_epoch(epoch)
    top = drawn[0]["frames"][0, 0, 4:8].float()
    return bool(top[:, -4:].mean() > top[:, :4].mean())


def test_a_test_clip_is_the_centre_of_the_given_frames(root):
    clip = load_test_clip(VIDEOS[0], "rgb", root, [2, 10], short_side=48, input_size=32)
    whole = load_clip(VIDEOS[0], "rgb", root, [2, 10], short_side=48)
    assert whole.shape == (2, 3, 48, 64)
    assert np.array_equal(clip, whole[:, :, 8:40, 16:48])
    assert clip[:, :, 20:, 20:].mean(axis=(1, 2, 3)) == pytest.approx([8, 40], abs=3)


def test_flow_has_one_frame_less_and_five_to_a_stack():
    assert stored_frames(VIDEOS[0], "rgb") == (20, 1)
    assert stored_frames(VIDEOS[0], "flow") == (19, 5)


def test_flow_clips_keep_their_ten_channels(root, flow_stack):
    item = make_clips(root, stream="flow", horizontal_flip=False)[0]
    assert item["frames"].shape == (3, 10, 32, 32)
    assert item["frames"][:, :, 5, 5].tolist() == flow_stack[:, :, 5, 5].tolist()


def test_flipped_flow_changes_the_sign_of_x(root, flow_stack):
    both = make_clips(root, stream="flow")
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
        TrainClips(
            VIDEOS,
            ("row",),
            stream="rgb",
            root=root,
            num_segments=3,
            input_size=32,
            short_side=40,
            scales=[1.0],
            horizontal_flip=False,
            seed=0,
        )
