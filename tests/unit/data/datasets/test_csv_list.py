from pathlib import Path

import pytest

from stpa.data.datasets.base import ListedVideo, find_files
from stpa.data.datasets.csv_list import CsvDataset
from stpa.errors import DataError
from stpa.progress import silent

ROWS = [
    "day1/a.mp4,swim,train,day1",
    "day1/b.mp4,row,train,day1",
    "day2/a.MOV,swim,test,",
    "c.avi,row,test,day3",
]
PATHS = [row.partition(",")[0] for row in ROWS]


def write_list(root: Path, *rows: str, header: str = "path,label,split,group") -> None:
    (root / "videos.csv").write_text("\n".join([header, *rows]), encoding="utf-8")


@pytest.fixture
def root(tmp_path) -> Path:
    """Give a folder of four listed videos, which are empty, and others."""
    for name in [*PATHS, "on_no_list.mp4", "notes.txt"]:
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    write_list(tmp_path / "mine", *ROWS)
    return tmp_path / "mine"


def test_the_list_gives_label_split_and_group(root, make_config):
    assert CsvDataset().list_videos(root, make_config()) == [
        ListedVideo("day1/a.mp4", ("swim",), "day1", "train"),
        ListedVideo("day1/b.mp4", ("row",), "day1", "train"),
        ListedVideo("day2/a.MOV", ("swim",), "day2/a.MOV", "test"),
        ListedVideo("c.avi", ("row",), "day3", "test"),
    ]


def test_the_group_may_be_left_out_and_columns_may_be_in_any_order(root, make_config):
    rows = [",".join(reversed(row.split(",")[:3])) for row in ROWS]
    write_list(root, *rows, header="split,label,path")
    videos = CsvDataset().list_videos(root, make_config())
    assert [video.path for video in videos] == PATHS
    assert [video.group for video in videos] == PATHS


def test_a_list_as_spreadsheets_write_it_is_read(root):
    text = "\r\n".join(["path, label ,split", './day1//a.mp4,"a, b", train', "", "c.avi,c,test "])
    (root / "videos.csv").write_text(text, encoding="utf-8-sig")
    listing = CsvDataset().read_lists(root, 1)
    assert listing.videos == (
        ListedVideo("day1/a.mp4", ("a, b",), "day1/a.mp4", "train"),
        ListedVideo("c.avi", ("c",), "c.avi", "test"),
    )


def test_a_label_may_hold_a_comma_and_any_letters(root):
    write_list(root, '"day1/a.mp4","läuft, schnell",train,')
    assert CsvDataset().read_lists(root, 1).class_names == ("läuft, schnell",)


@pytest.mark.parametrize(
    "header",
    ["path,label", "path;label;split", "path,label,split,label", "path,label,split,group,group"],
)
def test_columns_that_are_missing_or_twice_are_told(root, header):
    write_list(root, *ROWS, header=header)
    with pytest.raises(DataError, match=r"needs the columns path, label, split, .* but has 'path"):
        CsvDataset().read_lists(root, 1)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("../a.mp4,swim,train,", r"line 6: path '../a.mp4' leaves the folder of videos.csv"),
        ("day1/../../a.mp4,swim,train,", r"line 6: path .* leaves the folder"),
        ("/tmp/a.mp4,swim,train,", r"line 6: path '/tmp/a.mp4' leaves the folder"),
        (",swim,train,", r"line 6: path '' does not name a video"),
        ("notes.txt,swim,train,", r"line 6: path 'notes.txt' does not name a video"),
        (".hidden/a.mp4,swim,train,", r"line 6: path '.hidden/a.mp4' does not name a video"),
        ("d.mp4, ,train,", r"line 6: label is empty"),
        ("d.mp4,swim,Train,", r"line 6: split 'Train' is neither train nor test"),
        ("d.mp4,swim,,", r"line 6: split '' is neither train nor test"),
        ("d.mp4,swim,train", r"line 6 has 3 values for 4 columns"),
        ("d.mp4,swim,train,,", r"line 6 has 5 values for 4 columns"),
        ('d.mp4,"swim,train,', r"is not CSV in UTF-8 \(unexpected end of data\)"),
    ],
)
def test_a_faulty_line_is_told_by_its_number(root, row, fault):
    write_list(root, *ROWS, row)
    with pytest.raises(DataError, match=fault):
        CsvDataset().read_lists(root, 1)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("./day1//a.mp4,swim,train,day1", "'day1/a.mp4' is listed twice$"),
        ("on_no_list.mp4,swim,test,day1", "group 'day1' is in both splits$"),
        ("d.mp4,swim,test,", r"1 of 5 listed videos are not there \('d.mp4'\)$"),
        ("on_no_list.mp4,dive,test,", "class 'dive' has no training video$"),
    ],
)
def test_a_list_that_makes_no_dataset_is_refused(root, make_config, row, fault):
    write_list(root, *ROWS, row)
    with pytest.raises(DataError, match=fault):
        CsvDataset().list_videos(root, make_config())


def test_all_faulty_lines_are_told_together(root):
    write_list(root, "a.mp4,,train,", "b.mp4,swim,val,")
    with pytest.raises(DataError, match=r"line 2: label is empty; line 3: split 'val' is neither"):
        CsvDataset().read_lists(root, 1)


def test_a_list_in_another_encoding_is_refused(root):
    (root / "videos.csv").write_bytes("path,label,split\na.mp4,läuft,train".encode("latin-1"))
    with pytest.raises(DataError, match=r"videos.csv is not CSV in UTF-8 \('utf-8' codec"):
        CsvDataset().read_lists(root, 1)


def test_a_list_without_lines_is_refused(root):
    write_list(root)
    with pytest.raises(DataError, match="lists no videos"):
        CsvDataset().read_lists(root, 1)


def test_an_empty_file_is_told_what_columns_it_needs(root):
    (root / "videos.csv").write_text("")
    with pytest.raises(DataError, match=r"needs the columns path, label, split, .* but has none"):
        CsvDataset().read_lists(root, 1)


def test_a_missing_list_is_asked_for(tmp_path):
    with pytest.raises(DataError, match=rf"no videos.csv in {tmp_path}: list the videos there"):
        CsvDataset().read_lists(tmp_path, 1)


def test_only_the_list_and_its_videos_are_brought_into_the_workspace(root, tmp_path, make_config):
    destination = tmp_path / "workspace" / "videos"
    CsvDataset().prepare(destination, root, make_config(), silent)
    copied = {path.relative_to(destination).as_posix() for path in find_files(destination)}
    assert copied == {"videos.csv", *PATHS}
    CsvDataset().prepare(destination, None, make_config(), silent)
    assert len(CsvDataset().list_videos(destination, make_config())) == 4
