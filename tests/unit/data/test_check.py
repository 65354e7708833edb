import shutil
from pathlib import Path

import pytest

from stpa.data.check import DatasetCheck, check_dataset
from stpa.errors import ConfigError, DataError

SHARED = Path(__file__).parents[3].parent / "shared" / "data"


@pytest.fixture
def root(tmp_path) -> Path:
    """Give two videos of each class of HMDB51, one of them unused, and one on no list."""
    (tmp_path / "testTrainMulti_7030_splits").mkdir()
    for label in ("pour", "swim"):
        lines = [f"M{number}_{label}_0.avi {number} \n" for number in range(3)]
        lists = tmp_path / "testTrainMulti_7030_splits"
        (lists / f"{label}_test_split1.txt").write_text("".join(lines))
        (tmp_path / label).mkdir()
        for number in range(4):
            (tmp_path / label / f"M{number}_{label}_0.avi").write_text("a video")
    return tmp_path


def test_a_whole_download_is_complete_whatever_else_is_there(root):
    assert check_dataset(root, "hmdb51", 1) == DatasetCheck(
        num_videos=6,
        num_listed={"pour": 3, "swim": 3},
        num_missing={},
        missing=(),
        empty=(),
        unlisted=("pour/M3_pour_0.avi", "swim/M3_swim_0.avi"),
        contradictions=(),
    )
    assert check_dataset(root, "hmdb51", 1).complete


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_missing_video_is_counted_also_where_the_split_leaves_it_unused(root, number):
    (root / "swim" / f"M{number}_swim_0.avi").unlink()
    check = check_dataset(root, "hmdb51", 1)
    assert check.missing == (f"swim/M{number}_swim_0.avi",)
    assert check.num_missing == {"swim": 1}
    assert not check.complete


def test_an_empty_video_is_there_but_not_complete(root):
    for number in (1, 3):  # 3 is on no list
        (root / "swim" / f"M{number}_swim_0.avi").write_bytes(b"")
    check = check_dataset(root, "hmdb51", 1)
    assert (check.empty, check.missing) == (("swim/M1_swim_0.avi",), ())
    assert not check.complete


@pytest.mark.parametrize("dataset", ["folder", "synthetic"])
def test_a_dataset_without_lists_is_answered_with_those_that_have_some(root, dataset):
    with pytest.raises(
        ConfigError, match=f"{dataset} has no lists .* only charades, csv, hmdb51, ucf101"
    ):
        check_dataset(root, dataset, 1)


def test_an_unknown_dataset_is_answered_with_the_known_ones(root):
    with pytest.raises(
        ConfigError, match="'kinetics' is not known: take one of charades, csv, folder"
    ):
        check_dataset(root, "kinetics", 1)


def test_a_file_is_no_download(root):
    with pytest.raises(DataError, match="is not a folder"):
        check_dataset(root / "pour" / "M0_pour_0.avi", "hmdb51", 1)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_a_part_of_ucf101_is_told_from_the_published_lists(tmp_path):
    (tmp_path / "ucfTrainTestlist").symlink_to(SHARED / "splits" / "ucfTrainTestlist")
    shutil.copytree(SHARED / "ucf101_clips", tmp_path / "UCF-101")
    num_clips = len(list((tmp_path / "UCF-101").rglob("*.avi")))
    check = check_dataset(tmp_path, "ucf101", 1)
    assert check.num_videos == sum(check.num_listed.values()) == 13320
    assert len(check.missing) == sum(check.num_missing.values()) == 13320 - num_clips
    assert check.empty == check.unlisted == ()
