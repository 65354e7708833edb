"""Annotated actions: what is read from each kind of file, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from stpa.data.annotations import Action, interval_actions, load_annotations
from stpa.data.manifest import Video
from stpa.errors import DataError
from tests.workspaces import make_video

VIDEO = make_video("jump/a", path="jump/a.avi", num_frames=6)


def write(folder: Path, *lines: str) -> Path:
    path = folder / "truth.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def actions_of(table: Path, video: Video = VIDEO) -> list[Action]:
    return load_annotations(table.parent, table)(video)


def test_a_box_per_frame_is_when_and_where(tmp_path: Path) -> None:
    rows = ("jump/a.avi,3,1,2.5,30,40", "jump/a.avi,2,0,0,10,10", "b.avi,0,0,0,5,5")
    [action] = actions_of(write(tmp_path, "path,frame,x0,y0,x1,y1", *rows))
    assert action.label == "left"
    assert action.in_action.tolist() == [False, False, True, True, False, False]
    assert action.boxes is not None
    assert action.boxes[[2, 3]].tolist() == [[0, 0, 10, 10], [1, 2.5, 30, 40]]
    assert np.isnan(action.boxes[[0, 1, 4, 5]]).all()


def test_parts_of_a_video_are_time_alone_with_their_last_frames(tmp_path: Path) -> None:
    rows = ("jump/a.avi,0,1", "jump/a.avi,4,4")
    [action] = actions_of(write(tmp_path, "path,first_frame,last_frame", *rows))
    assert action.in_action.tolist() == [True, True, False, False, True, False]
    assert action.boxes is None


def test_a_video_that_is_in_no_row_has_no_action(tmp_path: Path) -> None:
    assert actions_of(write(tmp_path, "path,first_frame,last_frame", "b.avi,0,1")) == []


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("path,frame", "jump/a.avi,1", "has the columns path, frame, but needs path, frame, x0"),
        (
            "path,first_frame,last_frame",
            "jump/a.avi,3,2",
            "line 2: first_frame is after last_frame",
        ),
        ("path,first_frame,last_frame", "jump/a.avi,-1,2", "line 2: a frame is no whole number"),
        ("path,frame,x0,y0,x1,y1", "jump/a.avi,1.5,0,0,1,1", "line 2: a frame is no whole number"),
        ("path,frame,x0,y0,x1,y1", "jump/a.avi,1,5,0,5,1", "line 2: a box needs numbers with x0"),
        ("path,frame,x0,y0,x1,y1", "jump/a.avi,1,0,x,5,1", "line 2: a box needs numbers with x0"),
        (
            "path,frame,x0,y0,x1,y1",
            "jump/a.avi,1,-inf,0,5,1",
            "line 2: a box needs numbers with x0",
        ),
    ],
)
def test_a_row_that_cannot_be_meant_is_told_by_its_line(
    header: str, row: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        actions_of(write(tmp_path, header, row))


def test_a_frame_has_one_box(tmp_path: Path) -> None:
    row = "jump/a.avi,1,0,0,5,5"
    with pytest.raises(DataError, match=r"line 3: jump/a\.avi has two boxes in frame 1"):
        actions_of(write(tmp_path, "path,frame,x0,y0,x1,y1", row, row))


def test_a_frame_past_the_video_s_end_is_refused(tmp_path: Path) -> None:
    table = write(tmp_path, "path,first_frame,last_frame", "jump/a.avi,1,6")
    with pytest.raises(DataError, match=r"names frame 6 of jump/a\.avi, which has 6 frames"):
        actions_of(table)


def test_a_table_is_for_videos_of_one_label(tmp_path: Path) -> None:
    table = write(tmp_path, "path,first_frame,last_frame", "jump/a.avi,1,2")
    with pytest.raises(DataError, match="which has 2 labels"):
        actions_of(table, make_video("jump/a", path="jump/a.avi", labels=("left", "up")))


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no table of actions .*truth\.csv"):
        load_annotations(tmp_path, tmp_path / "truth.csv")


def test_generated_clips_bring_their_annotations(tmp_path: Path) -> None:
    action = {"first_frame": 4, "boxes": [[0, 0, 10, 10], [1.5, 2, 3, 4]], "another": "key"}
    (tmp_path / "annotations.json").write_text(json.dumps({"jump/a.avi": action}))
    get_actions = load_annotations(tmp_path, None)
    [found] = get_actions(VIDEO)
    assert found.in_action.tolist() == [False] * 4 + [True] * 2
    assert found.boxes is not None
    assert found.boxes[4:].tolist() == [[0, 0, 10, 10], [1.5, 2, 3, 4]]
    assert get_actions(make_video("b")) == []


@pytest.mark.parametrize("text", ["", "[]", '{"a.avi": {"boxes": []}}', '{"a.avi": 1}'])
def test_broken_annotations_are_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "annotations.json").write_text(text)
    with pytest.raises(DataError, match=r"annotations\.json is not as clips were generated with"):
        load_annotations(tmp_path, None)


def test_a_table_comes_before_what_the_videos_bring(tmp_path: Path) -> None:
    action = {"first_frame": 4, "boxes": [[0, 0, 10, 10]]}
    (tmp_path / "annotations.json").write_text(json.dumps({"jump/a.avi": action}))
    table = write(tmp_path, "path,first_frame,last_frame", "jump/a.avi,0,0")
    [found] = load_annotations(tmp_path, table)(VIDEO)
    assert found.in_action.nonzero()[0].tolist() == [0]


def test_intervals_are_joined_by_label(tmp_path: Path) -> None:
    video = make_video(
        labels=("left", "up", "left", "down"),
        intervals=((0.0, 0.4), (0.9, 9.0), (0.8, 1.2), None),
        num_frames=10,
        fps=5,
    )
    left, up = load_annotations(tmp_path, None)(video)
    # The middles of the frames are at 0.1, 0.3, 0.5 ... 1.9 s.
    assert (left.label, left.in_action.nonzero()[0].tolist()) == ("left", [0, 1, 4, 5])
    assert (up.label, up.in_action.nonzero()[0].tolist()) == ("up", [4, 5, 6, 7, 8, 9])
    assert left.boxes is None


def test_without_a_frame_rate_or_intervals_no_time_is_known() -> None:
    assert interval_actions(make_video(intervals=((0.0, 0.4),), fps=0)) == []
    assert interval_actions(make_video(labels=("left",), intervals=())) == []
