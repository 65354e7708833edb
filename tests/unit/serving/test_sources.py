"""What arguments of `stpa predict` stand for."""

import os
from pathlib import Path

import pytest

from stpa.errors import UsageError
from stpa.serving.sources import Source, describe_sources, find_sources


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with four videos, one of them hidden, and a text."""
    for name in ("a.mp4", "b.AVI", "in/c.mkv", "in/.hidden.mp4", "in/notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def paths(*arguments: str, standard_input: tuple[str, ...] = ()) -> list[str]:
    return [source.path for source in find_sources(arguments, standard_input)]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a.mp4"], ["a.mp4"]),
        (["in/notes.md"], ["in/notes.md"]),
        (["."], ["a.mp4", "b.AVI", "in/c.mkv"]),
        (["*.mp4"], ["a.mp4"]),
        (["**/*.mkv"], ["in/c.mkv"]),
        (["i*"], ["in/c.mkv"]),
        (["b.AVI", "a.mp4", "*.mp4"], ["b.AVI", "a.mp4"]),
        (["https://host/a.mp4", "s3://bucket/b.avi"], ["https://host/a.mp4", "s3://bucket/b.avi"]),
    ],
)
def test_an_argument_stands_for_videos_each_once_in_order(arguments, expected):
    assert paths(*arguments) == expected


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("no.mp4", "there is no video file no.mp4"),
        ("*.mov", r"there is no video that matches \*\.mov"),
        ("empty", "there is no video in the folder empty"),
        ("empty.txt", "there is no path in the list empty.txt"),
        ("-", "there is no path on standard input"),
    ],
)
def test_an_argument_that_names_nothing_is_refused_by_name(folder, argument, told):
    (folder / "empty").mkdir()
    (folder / "empty.txt").write_text("\n\n")
    with pytest.raises(UsageError, match=told):
        find_sources([argument], [])


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder):
    (folder / "v[1].mp4").touch()
    assert paths("v[1].mp4") == ["v[1].mp4"]


def test_paths_of_a_list_start_at_its_folder_and_those_of_standard_input_at_the_current_one(folder):
    (folder / "in" / "list.txt").write_text("c.mkv\n\n  https://host/x.mp4\n")
    assert paths("in/list.txt") == ["in/c.mkv", "https://host/x.mp4"]
    assert paths("-", standard_input=("a.mp4\n", "in/c.mkv\n")) == ["a.mp4", "in/c.mkv"]


def test_a_missing_file_of_a_list_is_told_of_that_file_alone(folder):
    (folder / "list.txt").write_text("a.mp4\ngone.mp4\nin\n")
    reasons = {source.path: source.error for source in find_sources(["list.txt"], [])}
    assert reasons == {
        "a.mp4": None,
        "gone.mp4": "there is no such file",
        "in": "is not a file",
    }


def test_a_file_is_known_by_its_size_and_time(folder):
    os.utime(folder / "a.mp4", ns=(0, 1_500_000_000_123_456_000))
    [source] = describe_sources(["a.mp4"])
    assert source == Source("a.mp4", 5, "2017-07-14T02:40:00.123456+00:00")


def test_a_name_that_is_no_utf_8_can_be_written_down(folder):
    name = os.fsdecode(b"\xff.mp4")
    (folder / name).touch()
    [source] = find_sources([name], [])
    assert source.name == r"\xff.mp4"
    assert source.name.encode()


@pytest.mark.parametrize(
    ("path", "file_name", "stem"),
    [("in/c.mkv", "c.mkv", "c"), ("https://host/x/y.mp4?signature=1", "y.mp4", "y")],
)
def test_a_picture_is_named_like_the_file(path, file_name, stem):
    assert (Source(path).file_name, Source(path).stem) == (file_name, stem)
