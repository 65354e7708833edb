"""Atomic writes and digests."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from stpa import files
from stpa.files import atomic_path, digest_file, digest_value, is_temporary, write_json


def members(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture(params=["file", "folder"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file, or a folder of one, that is to be replaced."""
    path = tmp_path / "result.bin"
    fill(path, "old", as_folder=request.param == "folder")
    return path


def fill(path: Path, text: str, as_folder: bool) -> None:
    if as_folder:
        path.mkdir()
        path /= text
    path.write_text(text)


def content(path: Path) -> str:
    if path.is_dir():
        [path] = path.iterdir()
    return path.read_text()


def test_a_new_file_or_folder_replaces_the_old_one_whole(old):
    with atomic_path(old) as temporary:
        fill(temporary, "new", as_folder=old.is_dir())
        assert content(old) == "old"
    assert content(old) == "new"
    assert members(old.parent) in (["result.bin"], ["result.bin", "result.bin/new"])


def test_a_failure_leaves_the_old_and_nothing_else(old):
    before = members(old.parent)
    with pytest.raises(KeyboardInterrupt), atomic_path(old) as temporary:  # noqa: PT012
        fill(temporary, "new", as_folder=old.is_dir())
        raise KeyboardInterrupt
    assert content(old) == "old"
    assert members(old.parent) == before


def test_a_disk_that_is_full_at_the_last_moment_leaves_the_old(old, monkeypatch):
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "_sync", full)
    before = members(old.parent)
    with pytest.raises(OSError, match="No space"), atomic_path(old) as temporary:
        fill(temporary, "new", as_folder=old.is_dir())
    assert content(old) == "old"
    assert members(old.parent) == before


def test_folders_above_are_made_and_the_suffix_is_kept(tmp_path):
    path = tmp_path / "a" / "b" / "video.avi"
    with atomic_path(path) as temporary:
        assert temporary.suffix == ".avi"
        assert temporary.parent == path.parent
        assert is_temporary(temporary)
        temporary.touch()
    assert path.exists()
    assert not is_temporary(path)


def test_two_writers_do_not_meet(tmp_path):
    path = tmp_path / "result"
    with atomic_path(path) as first, atomic_path(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # the last to finish
    assert members(tmp_path) == ["result"]


def test_json_keeps_letters_readable(tmp_path):
    write_json(tmp_path / "a.json", {"class": "läuft 名"})
    assert "läuft 名" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_a_file_digest_is_sha_256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert digest_file(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_equal_values_have_equal_digests_in_every_process():
    assert digest_value({"b": [1, 2], "a": "ä"}) == digest_value({"a": "ä", "b": (1, 2)})
    assert digest_value({"a": 1}) == "015abd7f5cc5"
    assert digest_value({"a": 1}) != digest_value({"a": "1"})
    assert len(digest_value(0, length=32)) == 32
