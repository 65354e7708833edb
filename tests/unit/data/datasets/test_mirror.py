import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from stpa.data.datasets.base import find_files, find_videos
from stpa.data.datasets.mirror import mirror
from stpa.data.transcode import Transcodes
from stpa.errors import DataError
from stpa.progress import silent
from tests.unit.data.conftest import make_limits

NAMES = ["a/1.avi", "a/2.avi", "b/c/3.mp4"]


@pytest.fixture
def source(tmp_path) -> Path:
    for name in NAMES:
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"bytes of {name}")
        os.utime(path, ns=(10**18 + 5, 10**18 + 7))
    (tmp_path / "source" / "notes.txt").touch()
    return tmp_path / "source"


@pytest.fixture
def destination(tmp_path) -> Path:
    return tmp_path / "workspace" / "videos"


def as_they_come(destination: Path) -> Transcodes:
    return Transcodes(destination, None, make_limits())


def copied(source: Path | None, destination: Path) -> int:
    """Mirror, and return how many files were copied."""
    calls = []
    mirror(
        source,
        destination,
        find_videos,
        as_they_come(destination),
        lambda *counts: calls.append(counts),
    )
    return len(calls)


def listing(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_files(folder)]


def test_videos_are_copied_with_their_times_and_nothing_else(source, destination):
    assert copied(source, destination) == 3
    assert listing(destination) == NAMES
    copy = destination / NAMES[2]
    assert copy.read_text() == "bytes of b/c/3.mp4"
    assert copy.stat().st_mtime_ns == 10**18 + 7


def test_unchanged_files_are_not_copied_again(source, destination):
    copied(source, destination)
    assert copied(source, destination) == 0


def test_files_that_left_the_source_are_removed(source, destination):
    copied(source, destination)
    shutil.rmtree(source / "b")
    copied(source, destination)
    assert listing(destination) == NAMES[:2]
    assert not (destination / "b").exists()


def test_a_changed_file_is_replaced_and_what_links_to_it_kept(source, destination, tmp_path):
    copied(source, destination)
    cached = tmp_path / "cached"
    cached.hardlink_to(destination / NAMES[0])
    cached.chmod(0o444)
    (source / NAMES[0]).write_text("other bytes")
    assert copied(source, destination) == 1
    assert (destination / NAMES[0]).read_text() == "other bytes"
    assert cached.read_text() == f"bytes of {NAMES[0]}"


def test_what_a_killed_copy_left_is_removed(source, destination):
    copied(source, destination)
    partial = destination / "a" / ".partial-0123abcd.avi"
    partial.touch()
    copied(source, destination)
    assert not partial.exists()


def test_a_copy_that_was_cut_off_is_not_taken_for_the_dataset(source, destination):
    def kill(done: int, total: int, *_details: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mirror(source, destination, find_videos, as_they_come(destination), kill)
    with pytest.raises(DataError, match=f"copying {source} was cut off: run `stpa ingest"):
        copied(None, destination)
    assert copied(source, destination) == 2
    assert copied(None, destination) == 0


def test_the_workspace_can_be_its_own_source(source):
    assert copied(source, source) == 0
    assert listing(source) == [*NAMES, "notes.txt"]


def test_without_a_source_and_without_videos_one_is_asked_for(destination):
    with pytest.raises(DataError, match="stpa ingest FOLDER"):
        copied(None, destination)


def test_a_source_that_is_no_folder_is_refused(tmp_path, destination):
    with pytest.raises(DataError, match="nowhere is not a folder"):
        copied(tmp_path / "nowhere", destination)


@pytest.mark.parametrize("inner", ["source/workspace", "."])
def test_source_and_workspace_may_not_hold_each_other(source, tmp_path, inner):
    with pytest.raises(DataError, match="lie within each other"):
        copied(source, (source.parent / inner).resolve())
    assert listing(source) == [*NAMES, "notes.txt"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_symbolic_links_are_refused(source, destination, tmp_path, kind):
    secret = tmp_path / "secret" / "s.avi"
    secret.parent.mkdir()
    secret.touch()
    (source / "a" / "link.avi").symlink_to(secret if kind == "file" else secret.parent)
    with pytest.raises(DataError, match=r"1 symbolic links.*'a/link.avi'.*cp -rL"):
        copied(source, destination)
    assert not destination.exists()


def test_a_name_that_is_not_text_is_refused(source, destination):
    Path(os.fsdecode(os.fsencode(source) + b"/a/\xff.avi")).touch()
    with pytest.raises(DataError, match="1 names that are not UTF-8") as caught:
        copied(source, destination)
    str(caught.value).encode()


def test_a_full_disk_is_noticed_before_copying(source, destination, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=20))
    with pytest.raises(DataError, match=r"needs 0.0 GB, but .* free: make room"):
        mirror(source, destination, find_videos, as_they_come(destination), silent)
    assert not destination.exists()
