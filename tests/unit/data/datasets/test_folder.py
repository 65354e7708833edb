from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stpa.data.datasets.folder import FolderDataset, hold_out
from stpa.errors import DataError
from stpa.progress import silent

SWIPES = [(label, f"g{group:02}") for label in ("left", "right", "up") for group in range(1, 23)]


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def test_recordings_are_never_split(tmp_path, make_config):
    names = [f"{label}/v_{label}_{group}_c01.avi" for label, group in SWIPES]
    videos = FolderDataset().list_videos(touch(tmp_path, *names), make_config(num_folds=3))
    splits = {(video.group, video.split) for video in videos}
    assert len(splits) == 22
    assert Counter(split for _, split in splits)["test"] in (7, 8)
    assert [video.path for video in videos] == sorted(names)


def test_files_that_are_passed_over_are_counted_and_named(tmp_path, make_config, caplog):
    names = [f"{label}/v_{label}_{group}_c01.avi" for label, group in SWIPES[:30]]
    source = touch(
        tmp_path / "source", *names, "left/a.webp", "left/b.WEBP", "left/c", "left/d.txt"
    )
    touch(source, "left/.hidden", "left/e.GIF", "right/f.m2ts")
    prepare = FolderDataset().prepare
    prepare(tmp_path / "videos", source, make_config(), silent)
    [said] = [each.message for each in caplog.records]
    assert said == (
        f"4 files in {source} are passed over, as their endings are not those of videos: "
        "2 .webp, 1 without one, 1 .txt ('left/a.webp', 'left/b.WEBP', 'left/c', and 1 more)"
    )
    assert {path.name for path in (tmp_path / "videos").glob("*/*.*")} >= {"e.GIF", "f.m2ts"}
    for name in ("left/a.webp", "left/b.WEBP", "left/c", "left/d.txt"):
        (source / name).unlink()
    caplog.clear()
    prepare(tmp_path / "videos", source, make_config(), silent)
    assert not caplog.records


@given(st.permutations(SWIPES))
def test_the_order_of_files_does_not_matter(members):
    assert hold_out(members, 3, 1) == hold_out(SWIPES, 3, 1)


def test_every_recording_is_held_out_in_one_split():
    held_out = [hold_out(SWIPES, 5, split) for split in range(1, 6)]
    assert sum(map(len, held_out)) == 22
    assert set().union(*held_out) == {group for _, group in SWIPES}


@given(
    st.lists(st.integers(2, 9), min_size=2, max_size=6),
    st.integers(2, 4),
    st.data(),
)
def test_classes_of_lone_clips_are_split_each_for_itself(sizes, num_folds, data):
    split = data.draw(st.integers(1, num_folds))
    members = [(str(k), f"{k}/{clip}") for k, size in enumerate(sizes) for clip in range(size)]
    held_out = hold_out(members, num_folds, split)
    for label, size in enumerate(sizes):
        num_tested = sum(group.startswith(f"{label}/") for group in held_out)
        assert 1 <= num_tested <= size - 1
        assert num_tested <= size / num_folds + 1


def test_recordings_that_share_some_classes_leave_each_class_both_splits():
    members = [("a", "g1"), ("b", "g1"), ("a", "g2"), ("c", "g2"), ("b", "g3"), ("c", "g3")]
    held_out = hold_out([*members, *((label, f"{label} lone") for label in "abc")], 2, 1)
    for label in "abc":
        groups = {group for name, group in members if name == label} | {f"{label} lone"}
        assert groups & held_out
        assert groups - held_out


def test_a_file_without_a_group_in_its_name_is_its_own_recording(tmp_path, make_config):
    touch(tmp_path, "a/one.avi", "a/two.avi", "b/one.avi", "b/two.avi")
    videos = FolderDataset().list_videos(tmp_path, make_config())
    assert [video.group for video in videos] == [video.path for video in videos]


def test_videos_may_lie_deeper_and_have_any_case_and_name(tmp_path, make_config):
    names = ["a b/x/é_g01.AVI", "a b/new\nline_g02.mp4", "ü/deep/er/c_g01.MkV", "ü/d_g02.webm"]
    touch(tmp_path, *names, "a b/readme.txt", "a b/.hidden.avi", ".cache/a_g01.avi")
    videos = FolderDataset().list_videos(tmp_path, make_config())
    assert sorted(video.path for video in videos) == sorted(names)
    assert {video.labels for video in videos} == {("a b",), ("ü",)}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no videos: expected one sub-folder a class"),
        (["a/notes.txt"], "no videos"),
        (["a/1.avi", "a/2.avi"], r"one class only \('a'\): add a second"),
        (["a/1.avi", "a/2.avi", "b/1.avi"], "class 'b' has no test video: each class needs"),
        (["a/1.avi", "a/2.avi", "b/1_g01_.avi", "b/2_g01_.avi"], "class 'b' has no test"),
        (["a/1.avi", "a/2.avi", "b/notes.txt"], "class 'b' has no video"),
        (["1.avi", "a/1.avi", "a/2.avi", "b/1.avi", "b/2.avi"], "outside any class .*'1.avi'"),
    ],
)
def test_a_folder_that_is_no_dataset_says_why(tmp_path, make_config, names, message):
    with pytest.raises(DataError, match=message) as caught:
        FolderDataset().list_videos(touch(tmp_path, *names), make_config())
    assert "\n" not in str(caught.value)


def test_all_faults_are_reported_at_once(tmp_path, make_config):
    touch(tmp_path, "stray.avi", "a/1.avi", "b/1.avi", "c/notes.txt")
    with pytest.raises(DataError) as caught:
        FolderDataset().list_videos(tmp_path, make_config())
    for fault in ("stray.avi", "class 'a'", "class 'b'", "class 'c' has no video"):
        assert fault in str(caught.value)


def test_a_faulty_source_is_refused_before_anything_is_copied(tmp_path, make_config):
    source = touch(tmp_path / "source", "a/1.avi", "a/2.avi", "b/1.avi")
    with pytest.raises(DataError, match="class 'b'"):
        FolderDataset().prepare(tmp_path / "videos", source, make_config(), silent)
    assert not (tmp_path / "videos").exists()
