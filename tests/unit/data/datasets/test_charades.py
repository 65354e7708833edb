import logging
from pathlib import Path

import pytest

from stpa.data.check import check_dataset
from stpa.data.datasets.base import ListedVideo, find_files
from stpa.data.datasets.charades import CharadesDataset
from stpa.errors import ConfigError, DataError
from stpa.progress import silent

HEADER = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length"
CLASSES = ["c000 Holding some clothes", "c001 Putting clothes somewhere", "c147 Sitting down"]
TRAIN = {"AAAAA": "c000 1.50 21.20;c147 0.00 12.60;c000 25.00 31.00", "BBBBB": "c001 0.00 9.10"}
TEST = {"CCCCC": "c147 2.00 3.00;c001 2.00 3.00;c000 2.00 99.00", "DDDDD": ""}


def row(video_id: str, actions: str) -> str:
    return (
        f'{video_id},S1,Bedroom,7,7,Yes,"A person says ""no"", then sits.",bed;door,,{actions},30.5'
    )


def write_table(root: Path, side: str, rows: list[str], header: str = HEADER, **how) -> None:
    path = root / "Charades" / f"Charades_v1_{side}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8", **how)


@pytest.fixture
def root(tmp_path) -> Path:
    """Give four listed videos, which are empty, and others."""
    root = tmp_path / "charades"
    for name in [*TRAIN, *TEST, "ZZZZZ"]:
        path = root / "Charades_v1_480" / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    write_table(root, "train", [row(*each) for each in TRAIN.items()])
    write_table(root, "test", [row(*each) for each in TEST.items()])
    (root / "Charades" / "Charades_v1_classes.txt").write_text("\n".join(CLASSES))
    return root


def read(root: Path) -> dict[str, ListedVideo]:
    videos = CharadesDataset().read_lists(root, 1).videos
    return {Path(video.path).stem: video for video in videos}


def test_a_row_gives_every_action_with_its_interval(root, make_config):
    videos = CharadesDataset().list_videos(root, make_config())
    assert videos[0] == ListedVideo(
        path="Charades_v1_480/AAAAA.mp4",
        labels=(CLASSES[0], CLASSES[2], CLASSES[0]),
        group="Charades_v1_480/AAAAA.mp4",
        split="train",
        intervals=((1.5, 21.2), (0.0, 12.6), (25.0, 31.0)),
    )
    assert [video.split for video in videos] == ["train", "train", "test", "test"]
    assert (videos[3].labels, videos[3].intervals) == ((), ())


def test_the_classes_are_in_the_order_of_their_codes(root):
    assert CharadesDataset().read_lists(root, 1).class_names == tuple(CLASSES)


def test_an_end_past_the_video_is_kept_as_annotated(root):
    assert read(root)["CCCCC"].intervals[2] == (2, 99)


@pytest.mark.parametrize("times", ["5.00 5.00", "6.00 5.00", "-1.00 5.00"])
def test_an_action_that_does_not_end_after_its_start_stays_a_label(root, caplog, times):
    write_table(root, "train", [row("AAAAA", f"c000 {times};c001 1 2")])
    with caplog.at_level(logging.WARNING):
        video = read(root)["AAAAA"]
    assert (video.labels, video.intervals) == ((CLASSES[0], CLASSES[1]), (None, (1, 2)))
    assert "1 videos have actions that do not end after they start" in caplog.text


def test_the_folder_of_the_original_sizes_is_found_too(root):
    (root / "Charades_v1_480").rename(root / "Charades_v1")
    assert read(root)["AAAAA"].path == "Charades_v1/AAAAA.mp4"


def test_tables_as_spreadsheets_write_them_are_read(root):
    before = read(root)
    for side, rows in (("train", TRAIN), ("test", TEST)):
        path = root / "Charades" / f"Charades_v1_{side}.csv"
        text = "\r\n".join([HEADER, *[row(*each) for each in rows.items()], ""])
        path.write_bytes(text.encode("utf-8-sig"))
    (root / "Charades" / "Charades_v1_classes.txt").write_bytes("\r\n".join(CLASSES).encode())
    assert read(root) == before


@pytest.mark.parametrize(
    ("video_id", "actions", "fault"),
    [
        ("../x", "", "line 2: id '../x' is not one of letters"),
        ("/etc/x", "", "line 2: id '/etc/x'"),
        (".x", "", "line 2: id '.x'"),
        ("", "", "line 2: id ''"),
        ("EEEEE", "c000 1.0", "line 2: action 'c000 1.0' is not a class, a start and an end"),
        ("EEEEE", "c000 1.0 2.0 3.0", "line 2: action"),
        ("EEEEE", "c000 one 2.0", "line 2: action"),
        ("EEEEE", "c000 nan 2.0", "line 2: action"),
        ("EEEEE", "c000 1.0 inf", "line 2: action"),
        ("EEEEE", "c001 1 2;c999 1 2", "line 2: class 'c999' is not in the list of classes"),
    ],
)
def test_a_faulty_row_is_told_by_its_line(root, video_id, actions, fault):
    write_table(root, "test", [row(video_id, actions), row("FFFFF", "")])
    with pytest.raises(DataError, match=fault) as caught:
        CharadesDataset().read_lists(root, 1)
    assert "Charades_v1_test.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["id", "actions"])
def test_a_missing_column_is_told(root, name):
    write_table(root, "train", [row("AAAAA", "")], header=HEADER.replace(name, "other"))
    with pytest.raises(DataError, match=r"train\.csv needs the columns id, actions"):
        CharadesDataset().read_lists(root, 1)


@pytest.mark.parametrize("name", ["train.csv", "test.csv", "classes.txt"])
def test_a_missing_list_is_asked_for(root, name):
    (root / "Charades" / f"Charades_v1_{name}").unlink()
    with pytest.raises(DataError, match=f"Charades_v1_{name}.*: take the lists as published"):
        CharadesDataset().read_lists(root, 1)


def test_a_folder_without_any_lists_says_what_to_unpack(tmp_path):
    with pytest.raises(DataError, match=r"no split lists in .*: unpack"):
        CharadesDataset().read_lists(tmp_path, 1)


@pytest.mark.parametrize("lines", [["c000"], ["Holding"], ["c000 Holding", "c000 Putting"]])
def test_a_list_of_classes_that_is_none_is_refused(root, lines):
    (root / "Charades" / "Charades_v1_classes.txt").write_text("\n".join(lines))
    with pytest.raises(DataError, match="is no list of classes"):
        CharadesDataset().read_lists(root, 1)


def test_there_is_no_second_split(root):
    with pytest.raises(ConfigError, match=r"data.split 2 has no lists in .*: known are \[1\]"):
        CharadesDataset().read_lists(root, 2)


@pytest.mark.parametrize(
    ("side", "video_id", "fault"),
    [("train", "AAAAA", "AAAAA.mp4' is listed twice"), ("test", "BBBBB", "is in both splits")],
)
def test_a_video_that_is_listed_twice_is_refused(root, make_config, side, video_id, fault):
    rows = [*(TRAIN if side == "train" else TEST).items(), (video_id, "c000 1 2")]
    write_table(root, side, [row(*each) for each in rows])
    with pytest.raises(DataError, match=fault):
        CharadesDataset().list_videos(root, make_config())


def test_a_class_without_test_videos_is_told(root, make_config):
    write_table(root, "test", [row("CCCCC", "c001 1 2;c147 1 2")])
    with pytest.raises(DataError, match="class 'c000 Holding some clothes' has no test video"):
        CharadesDataset().list_videos(root, make_config())


def test_one_size_of_the_videos_and_the_lists_are_brought_in(root, tmp_path, make_config):
    (root / "Charades_v1").mkdir()
    (root / "Charades_v1" / "AAAAA.mp4").touch()
    CharadesDataset().prepare(tmp_path / "videos", root, make_config(), silent)
    copied = {
        path.relative_to(tmp_path / "videos").parts for path in find_files(tmp_path / "videos")
    }
    assert {parts[0] for parts in copied} == {"Charades_v1_480", "Charades"}
    assert len(copied) == 5 + 3


def test_a_download_is_checked_class_by_class(root):
    (root / "Charades_v1_480" / "AAAAA.mp4").unlink()
    check = check_dataset(root, "charades", 1)
    assert check.num_videos == 4
    assert check.num_listed == {CLASSES[0]: 2, CLASSES[1]: 2, CLASSES[2]: 2}
    assert check.num_missing == {CLASSES[0]: 1, CLASSES[2]: 1}
    assert check.missing == ("Charades_v1_480/AAAAA.mp4",)
