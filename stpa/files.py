"""Atomic writes and content digests: a reader sees a whole file or none."""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

Record = TypeVar("Record")

TEMPORARY_PREFIX = ".partial-"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to write to; it becomes `path` if the block succeeds.

    The sibling keeps the suffix of `path`, since encoders choose a container by it, and may
    be made a file or a folder. A folder replaces an existing one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        if temporary.is_dir():
            for member in temporary.rglob("*"):
                if member.is_file():
                    _sync(member)
            if path.exists():
                shutil.rmtree(path)
        else:
            _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Tell whether a killed `atomic_path` left `path` behind."""
    return path.name.startswith(TEMPORARY_PREFIX)


def remove_temporaries(folder: Path) -> None:
    """Remove what killed `atomic_path`s left anywhere below `folder`.

    Nobody may be writing there now.
    """
    # A list first: a folder among them takes others with it.
    for path in list(folder.rglob(f"{TEMPORARY_PREFIX}*")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def keep_only(folder: Path, wanted: set[Path]) -> None:
    """Delete all files below `folder` but the `wanted` ones, and empty folders."""
    members = sorted(folder.rglob("*"), reverse=True)
    for member in members:
        if member.is_dir() and not member.is_symlink():
            if not any(member.iterdir()):
                member.rmdir()
        elif member not in wanted:
            member.unlink()


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def back_up(path: Path) -> Path:
    """Copy a file beside itself under the first free number, as NAME.1; return the copy."""
    for number in count(1):
        backup = path.with_name(f"{path.name}.{number}")
        with suppress(FileExistsError), backup.open("xb") as stream:
            stream.write(path.read_bytes())
            return backup
    raise AssertionError("numbers do not end")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_records(path: Path, parse: Callable[[bytes], Record]) -> list[Record]:
    """Read what `append_record` wrote, one JSON value a line; a file that is not there is empty.

    A kill can tear the last line: what `parse` raises ValueError for is passed over.
    """
    records = []
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        with suppress(ValueError):
            records.append(parse(line))
    return records


def append_record(path: Path, json_line: str) -> None:
    """Append a line to a file of records; a line that a kill tore takes no other with it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(f"\n{json_line}")


def digest_file(
    path: Path, algorithm: str = "sha256", on_block: Callable[[], None] | None = None
) -> str:
    """Return the digest of a file's bytes, in hexadecimal; `algorithm` is a name in hashlib.

    `on_block` is called after each mebibyte.
    """
    digest = hashlib.new(algorithm)
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
            if on_block:
                on_block()
    return digest.hexdigest()


def digest_value(value: Any, length: int = 12) -> str:
    """Return the first `length` hexadecimal digits of the SHA-256 of `value`'s canonical JSON.

    Equal values give equal digests in every process: this names runs by their inputs.
    """
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:length]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
