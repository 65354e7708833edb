"""What `stpa predict` is asked to read: files, folders, patterns, lists and addresses.

Imports nothing heavy: what is wrong with arguments is told at once.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from glob import glob, has_magic
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from urllib.parse import urlsplit

from stpa.errors import UsageError

ADDRESSES = ("http://", "https://", "s3://")
STANDARD_INPUT = "-"
_LIST_SUFFIX = ".txt"


@dataclass(frozen=True)
class Source:
    """One video that is to be read."""

    path: str
    """A path or an address, as it was given."""
    size: int | None = None
    """Bytes; None for an address, and where there is no such file."""
    modified: str = ""
    """When a file was modified, in ISO 8601 and UTC."""
    error: str | None = None
    """Why it cannot be read, where that is known already."""

    @property
    def name(self) -> str:
        """The path for people and files: bytes that are no UTF-8 are escaped."""
        return os.fsencode(self.path).decode("utf-8", "backslashreplace")

    @property
    def file_name(self) -> str:
        """The last part of the path, for people."""
        path = urlsplit(self.name).path if is_address(self.path) else self.name
        return PurePosixPath(path).name

    @property
    def stem(self) -> str:
        """The file's name without its suffix."""
        return PurePosixPath(self.file_name).stem


def is_address(path: str) -> bool:
    """Return whether `path` is to be downloaded."""
    return path.startswith(ADDRESSES)


def find_sources(arguments: Iterable[str], standard_input: Iterable[str]) -> list[Source]:
    """Return each video that the arguments of `stpa predict` name, once, in their order.

    A list's relative paths start at its own folder, those of `standard_input` at the current one.
    Raises UsageError where an argument names nothing; a missing file of a list is an `error` of its
    source instead, since it shall not end a batch.
    """
    paths = [path for argument in arguments for path in _expand(argument, standard_input)]
    if not paths:
        raise UsageError("there is no path on standard input: give one per line")
    return [_describe(path) for path in dict.fromkeys(paths)]


def describe_sources(paths: Iterable[str | Path]) -> list[Source]:
    """Return a source for each path of a video, or address, whether it is there or not."""
    return [_describe(str(path)) for path in paths]


def _expand(argument: str, standard_input: Iterable[str]) -> list[str]:
    if is_address(argument):
        return [argument]
    if argument == STANDARD_INPUT:
        return list(_listed(standard_input, Path()))
    path = Path(argument)
    if path.is_dir():
        return _require(_videos_in(path), f"no video in the folder {argument}")
    if path.is_file() and path.suffix.lower() == _LIST_SUFFIX:
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        return _require(_listed(lines, path.parent), f"no path in the list {argument}")
    if not path.exists() and has_magic(argument):
        return _require(_matching(argument), f"no video that matches {argument}")
    if not path.is_file():
        raise UsageError(f"there is no video file {argument}")
    return [argument]


def _require(paths: Iterable[str], nothing: str) -> list[str]:
    found = list(paths)
    if not found:
        raise UsageError(f"there is {nothing}")
    return found


def _matching(pattern: str) -> Iterator[str]:
    # Not Path.glob, which takes no absolute pattern.
    for match in sorted(glob(pattern, recursive=True)):  # noqa: PTH207
        path = Path(match)
        yield from _videos_in(path) if path.is_dir() else [match]


def _videos_in(folder: Path) -> list[str]:
    from stpa.data.datasets.base import find_videos  # brings NumPy

    return [str(path) for path in find_videos(folder)]


def _listed(lines: Iterable[str], folder: Path) -> Iterator[str]:
    for line in filter(None, map(str.strip, lines)):
        yield line if is_address(line) else str(folder / line)


def _describe(path: str) -> Source:
    if is_address(path):
        return Source(path)
    try:
        found = Path(path).stat()
    except (OSError, ValueError):  # ValueError: a null byte in a list
        return Source(path, error="there is no such file")
    if not S_ISREG(found.st_mode):
        return Source(path, error="is not a file")
    modified = datetime.fromtimestamp(found.st_mtime, UTC).isoformat(timespec="microseconds")
    return Source(path, found.st_size, modified)
