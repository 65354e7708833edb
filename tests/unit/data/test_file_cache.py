import os
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import pytest

from stpa.data.file_cache import LONGEST_FETCH_SECONDS, SLACK, FileCache
from stpa.files import TEMPORARY_PREFIX

NUM_BYTES = 100
LIMIT = 1600
KEPT = int(LIMIT * (1 - SLACK)) // NUM_BYTES


def content(key: str) -> bytes:
    return key.encode().ljust(NUM_BYTES)


def write(key: str) -> Callable[[Path], None]:
    def fetch(path: Path) -> None:
        path.write_bytes(content(key))

    return fetch


def refuse(path: Path) -> None:
    raise AssertionError("it is there already")


def read(cache: FileCache, key: str, fetch: Callable[[Path], None] | None = None) -> bytes:
    with cache.open(key, fetch or write(key)) as file:
        return file.read()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def use_in_turn(folder: Path, keys: list[str]) -> None:
    """Let each file have been used a second after the one before."""
    for second, key in enumerate(keys, start=1):
        os.utime(folder / key, (second, second))


def test_a_file_is_fetched_once(tmp_path):
    assert read(FileCache(tmp_path / "new", LIMIT), "a") == content("a")
    assert read(FileCache(tmp_path / "new", LIMIT), "a", refuse) == content("a")


def test_a_fetch_that_fails_leaves_nothing(tmp_path):
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("cut off")

    with pytest.raises(OSError, match="cut off"):
        read(FileCache(tmp_path, LIMIT), "a", fail)
    assert names(tmp_path) == set()


def test_the_longest_unused_make_room(tmp_path):
    cache = FileCache(tmp_path, LIMIT)
    keys = [str(number) for number in range(KEPT)]
    for key in keys:
        read(cache, key)
    use_in_turn(tmp_path, keys)
    read(cache, "0", refuse)
    for key in ("new", "newer"):
        read(cache, key)
    assert names(tmp_path) == {"0", "new", "newer", *keys[3:]}


def test_what_other_processes_left_is_counted(tmp_path):
    keys = [str(number) for number in range(2 * KEPT)]
    for key in keys:
        (tmp_path / key).write_bytes(content(key))
    use_in_turn(tmp_path, keys)
    read(FileCache(tmp_path, LIMIT), "new")
    assert names(tmp_path) == {"new", *keys[-KEPT + 1 :]}


def test_an_open_file_is_read_on_after_it_has_made_room(tmp_path):
    cache = FileCache(tmp_path, NUM_BYTES)
    with cache.open("a", write("a")) as file:
        read(cache, "b")
        assert names(tmp_path) == {"b"}
        assert Path(f"/dev/fd/{file.fileno()}").read_bytes() == content("a")


def test_what_a_killed_fetch_left_goes_and_one_under_way_stays(tmp_path):
    for name, age in (("old", 2 * LONGEST_FETCH_SECONDS), ("young", 0.0)):
        path = tmp_path / f"{TEMPORARY_PREFIX}{name}"
        path.write_bytes(bytes(LIMIT))
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    read(FileCache(tmp_path, LIMIT), "a")
    assert names(tmp_path) == {"a", f"{TEMPORARY_PREFIX}young"}


def use_many(folder: Path, seed: int) -> None:
    cache = FileCache(folder, LIMIT)
    for turn in range(150):
        key = str((seed + 7 * turn) % (3 * KEPT))
        assert read(cache, key) == content(key)


def test_processes_that_share_a_cache_read_whole_files_within_its_limit(tmp_path):
    processes = [
        get_context("forkserver").Process(target=use_many, args=(tmp_path, seed))
        for seed in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    held = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert 0 < held <= LIMIT * (1 + len(processes) * SLACK)
