import logging
from pathlib import Path

import pytest

from stpa.data.datasets.ucf101 import Ucf101Dataset
from stpa.errors import ConfigError, DataError
from stpa.progress import silent

SHARED = Path(__file__).parents[4].parent / "shared" / "data"
VIDEOS = [f"{k}/v_{k}_g{g:02}_c{c:02}.avi" for k in ("Row", "Swim") for g in (1, 2) for c in (1, 2)]


def write_lists(folder: Path, train: list[str], test: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lists = {"classInd.txt": ["1 Row", "2 Swim"], "trainlist01.txt": train, "testlist01.txt": test}
    for name, lines in lists.items():
        (folder / name).write_bytes("".join(f"{line}\r\n" for line in lines).encode())


@pytest.fixture
def root(tmp_path) -> Path:
    """Give a small UCF101 whose first group is tested on."""
    for name in VIDEOS:
        path = tmp_path / "archive" / "UCF-101" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    test = [name for name in VIDEOS if "_g01_" in name]
    train = [f"{name} {1 + name.startswith('S')}" for name in VIDEOS if "_g02_" in name]
    write_lists(tmp_path / "archive" / "ucfTrainTestlist", train, test)
    return tmp_path / "archive"


def test_the_official_lists_decide_the_split(root, make_config):
    videos = Ucf101Dataset().list_videos(root, make_config())
    assert sorted(video.path for video in videos) == [f"UCF-101/{name}" for name in VIDEOS]
    for video in videos:
        assert (video.split == "test") == ("_g01_" in video.path)


def test_groups_are_numbered_within_a_class(root, make_config):
    videos = Ucf101Dataset().list_videos(root, make_config())
    assert {video.group for video in videos} == {"Row/g01", "Row/g02", "Swim/g01", "Swim/g02"}
    assert {video.labels for video in videos} == {("Row",), ("Swim",)}


def test_class_folders_may_lie_beside_the_lists(root, make_config):
    for folder in list((root / "UCF-101").iterdir()):
        folder.rename(root / folder.name)
    (root / "UCF-101").rmdir()
    videos = Ucf101Dataset().list_videos(root, make_config())
    assert sorted(video.path for video in videos) == VIDEOS


def test_a_listed_video_that_is_absent_is_logged(root, make_config, caplog):
    (root / "UCF-101" / VIDEOS[0]).unlink()
    with caplog.at_level(logging.WARNING):
        videos = Ucf101Dataset().list_videos(root, make_config())
    assert len(videos) == 7
    assert f"{root}: 1 of 8 listed videos are not there ('UCF-101/{VIDEOS[0]}')" in caplog.text


def test_a_class_without_test_videos_is_an_error(root, make_config):
    for name in VIDEOS[:2]:
        (root / "UCF-101" / name).unlink()
    with pytest.raises(DataError, match="class 'Row' has no test video"):
        Ucf101Dataset().list_videos(root, make_config())


def test_a_video_on_no_list_is_left_out(root, make_config):
    (root / "UCF-101" / "Row" / "v_Row_g03_c01.avi").touch()
    assert len(Ucf101Dataset().list_videos(root, make_config())) == 8


def test_a_listed_path_cannot_leave_the_dataset(root, make_config):
    (root / "secret.avi").touch()
    with (root / "ucfTrainTestlist" / "testlist01.txt").open("a") as stream:
        stream.write("../secret.avi\n")
    videos = Ucf101Dataset().list_videos(root, make_config())
    assert not any("secret" in video.path for video in videos)


def test_lists_that_train_on_test_videos_are_refused(root, make_config):
    with (root / "ucfTrainTestlist" / "testlist01.txt").open("a") as stream:
        stream.write(f"{VIDEOS[2]}\n")
    with pytest.raises(
        DataError, match=r"g02_c01.avi' is listed twice; group 'Row/g02' is in both"
    ):
        Ucf101Dataset().list_videos(root, make_config())


def test_lists_that_part_the_clips_of_a_group_are_refused(root, make_config):
    clip = root / "UCF-101" / "Row" / "v_Row_g02_c03.avi"
    clip.touch()
    with (root / "ucfTrainTestlist" / "testlist01.txt").open("a") as stream:
        stream.write(f"Row/{clip.name}\n")
    with pytest.raises(DataError, match=r"train on: group 'Row/g02' is in both splits$"):
        Ucf101Dataset().list_videos(root, make_config())


def test_an_unknown_split_is_answered_with_the_known_ones(root, make_config):
    with pytest.raises(ConfigError, match=r"data\.split 2 has no lists .* known are \[1\]"):
        Ucf101Dataset().list_videos(root, make_config(split=2))


def test_missing_lists_are_asked_for(tmp_path, make_config):
    with pytest.raises(DataError, match="no split lists"):
        Ucf101Dataset().list_videos(tmp_path, make_config())


def test_a_list_that_is_not_text_is_refused(root, make_config):
    (root / "ucfTrainTestlist" / "classInd.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"classInd.txt cannot be read"):
        Ucf101Dataset().list_videos(root, make_config())


def test_an_empty_list_is_refused(root, make_config):
    (root / "ucfTrainTestlist" / "trainlist01.txt").write_text("\r\n")
    with pytest.raises(DataError, match=r"trainlist01.txt is empty"):
        Ucf101Dataset().list_videos(root, make_config())


@pytest.mark.parametrize("line", [".", "/", "..", "Row/", " 1", "v_Row_g01_c01.avi"])
def test_a_line_that_names_no_clip_brings_none(root, make_config, line):
    with (root / "ucfTrainTestlist" / "testlist01.txt").open("a") as stream:
        stream.write(f"{line}\n")
    assert len(Ucf101Dataset().list_videos(root, make_config())) == 8


def test_videos_and_lists_are_brought_into_the_workspace(root, tmp_path, make_config):
    destination = tmp_path / "workspace" / "videos"
    Ucf101Dataset().prepare(destination, root, make_config(), silent)
    assert (destination / "ucfTrainTestlist" / "trainlist01.txt").read_bytes().endswith(b"\r\n")
    assert len(Ucf101Dataset().list_videos(destination, make_config())) == 8


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
@pytest.mark.parametrize(
    ("split", "num_train", "num_test"), [(1, 9537, 3783), (2, 9586, 3734), (3, 9624, 3696)]
)
def test_the_published_lists_give_the_published_counts(split, num_train, num_test, tmp_path):
    (tmp_path / "ucfTrainTestlist").symlink_to(SHARED / "splits" / "ucfTrainTestlist")
    listing = Ucf101Dataset().read_lists(tmp_path, split)
    assert len({video.path for video in listing.videos}) == 13320
    assert len(listing.class_names) == 101
    assert {label for video in listing.videos for label in video.labels} == set(listing.class_names)
    groups = {"train": set(), "test": set()}
    for video in listing.videos:
        groups[video.split].add(video.group)
    assert groups["train"].isdisjoint(groups["test"])
    assert sum(video.split == "train" for video in listing.videos) == num_train
    assert sum(video.split == "test" for video in listing.videos) == num_test
