import tarfile
from pathlib import Path

import pytest

from stpa.data.datasets.hmdb51 import Hmdb51Dataset
from stpa.data.decode import read_frames
from stpa.data.ingest import ingest
from stpa.errors import ConfigError, DataError
from stpa.progress import silent
from stpa.workspace import Workspace

ARCHIVE = (
    Path(__file__).parents[4].parent / "shared/data/splits/hmdb51_testTrainMulti_7030_splits.tar.xz"
)
LISTS = "testTrainMulti_7030_splits"
TAIL = "u_nm_np1_fr_goo_0.avi"
SIDES = {
    "pour": {
        f"How_to_pour_beer__eh__pour_{TAIL}": 1,
        f"How_to_pour_beer_pour_{TAIL}": 1,
        f"#437_Bar_[wine]_&_(ice)!;_pour_{TAIL}": 2,
        f"Unused_pour_{TAIL}": 0,
    },
    "shake_hands": {f"Movie_shake_hands_{TAIL}": 1, f"Other_shake_hands_{TAIL}": 2},
}
NUM_USED = 5


@pytest.fixture
def root(tmp_path) -> Path:
    """Give a small HMDB51 of one split; its files are empty."""
    root = tmp_path / "hmdb51"
    (root / LISTS).mkdir(parents=True)
    for label, sides in SIDES.items():
        (root / label).mkdir()
        for name in sides:
            (root / label / name).touch()
        lines = [f"{name} {side} \n" for name, side in sides.items()]
        (root / LISTS / f"{label}_test_split1.txt").write_text("".join(lines))
    return root


def test_1_is_trained_on_2_is_tested_on_and_0_is_left_out(root, make_config):
    videos = Hmdb51Dataset().list_videos(root, make_config())
    assert {(video.path, *video.labels, video.split) for video in videos} == {
        (f"{label}/{name}", label, ("train", "test")[side - 1])
        for label, sides in SIDES.items()
        for name, side in sides.items()
        if side
    }


def test_a_group_is_a_movie_within_a_class_whatever_its_title(root, make_config):
    videos = Hmdb51Dataset().list_videos(root, make_config())
    assert [video.group for video in videos] == [
        "pour/How_to_pour_beer__eh_",
        "pour/How_to_pour_beer",
        "pour/#437_Bar_[wine]_&_(ice)!;",
        "shake_hands/Movie",
        "shake_hands/Other",
    ]


@pytest.mark.parametrize("line", ["a.avi", "a.avi 3", "a.avi1"])
def test_a_line_without_one_of_the_three_marks_is_refused(root, line):
    with (root / LISTS / "pour_test_split1.txt").open("a") as stream:
        stream.write(f"{line}\n")
    with pytest.raises(DataError, match=f"pour_test_split1.txt has '{line}', not a name and 0, 1"):
        Hmdb51Dataset().read_lists(root, 1)


def test_a_class_without_its_list_of_the_split_is_refused(root):
    (root / LISTS / "pour_test_split2.txt").write_text(f"Movie_pour_{TAIL} 1 \n")
    with pytest.raises(DataError, match=r"shake_hands_test_split2.txt cannot be read"):
        Hmdb51Dataset().read_lists(root, 2)


def test_an_unknown_split_is_answered_with_the_known_ones(root):
    with pytest.raises(ConfigError, match=r"data\.split 4 has no lists .* known are \[1\]"):
        Hmdb51Dataset().read_lists(root, 4)


def test_missing_lists_are_asked_for(tmp_path):
    with pytest.raises(DataError, match="no split lists"):
        Hmdb51Dataset().read_lists(tmp_path, 1)


def test_a_listed_path_cannot_leave_the_dataset(root, make_config):
    (root.parent / "secret.avi").touch()
    with (root / LISTS / "pour_test_split1.txt").open("a") as stream:
        stream.write("../../secret.avi 2\n")
    assert len(Hmdb51Dataset().list_videos(root, make_config())) == NUM_USED


def test_videos_of_odd_names_are_ingested_and_read(root, tmp_path, make_config, write_video):
    for label, sides in SIDES.items():
        for name in sides:
            write_video(root / label / name, num_frames=3)
    workspace = Workspace(tmp_path / "workspace")
    manifest = ingest(workspace, make_config(dataset="hmdb51"), root, silent)
    assert manifest.quarantined == []
    assert len(manifest.videos) == NUM_USED
    for video in manifest.videos:
        assert len(read_frames(workspace.videos / video.path, [0, 2])) == 2


@pytest.mark.skipif(not ARCHIVE.is_file(), reason=f"needs {ARCHIVE}")
@pytest.mark.parametrize("split", [1, 2, 3])
def test_the_published_lists_give_the_published_counts(split, tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    listing = Hmdb51Dataset().read_lists(tmp_path, split)
    assert len(listing.class_names) == 51
    assert len(listing.unused.keys() | {video.path for video in listing.videos}) == 6766
    groups = {"train": set(), "test": set()}
    for video in listing.videos:
        groups[video.split].add(video.group)
    assert groups["train"].isdisjoint(groups["test"])
    for label in listing.class_names:
        sides = [video.split for video in listing.videos if video.labels == (label,)]
        assert (sides.count("train"), sides.count("test")) == (70, 30)
