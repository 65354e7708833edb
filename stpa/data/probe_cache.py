"""Remember probed videos, so that a killed ingest goes on and an unchanged one decodes nothing."""

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ValidationError

from stpa.data.probe import Probe
from stpa.files import write_text


class _Entry(BaseModel):
    """A line of the cache. Failures are not kept: a busy machine's deadline may pass next time."""

    path: str
    size: int
    mtime_ns: int
    probe: Probe


class ProbeCache:
    """Probes by path, size and modification time, in a file of one JSON object a line.

    Each probe is appended as it comes, so a kill can tear the last line; whatever cannot be
    read is forgotten.
    """

    def __init__(self, file: Path, root: Path, paths: Iterable[Path]) -> None:
        """Load what `file` knows of `paths`, which lie below `root`, and forget all else."""
        self._file = file
        self._root = root
        current = {self._key(path): path for path in paths}
        entries = [entry for entry in _read_entries(file) if _key(entry) in current]
        self.probes = {current[_key(entry)]: entry.probe for entry in entries}
        kept = "".join(f"{entry.model_dump_json()}\n" for entry in entries)
        if not file.is_file() or file.read_bytes() != kept.encode():
            write_text(file, kept)

    def add(self, path: Path, probe: Probe) -> None:
        """Remember one more probe."""
        name, size, mtime_ns = self._key(path)
        entry = _Entry(path=name, size=size, mtime_ns=mtime_ns, probe=probe)
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(f"{entry.model_dump_json()}\n")
        self.probes[path] = probe

    def _key(self, path: Path) -> tuple[str, int, int]:
        status = path.stat()
        return path.relative_to(self._root).as_posix(), status.st_size, status.st_mtime_ns


def _key(entry: _Entry) -> tuple[str, int, int]:
    return entry.path, entry.size, entry.mtime_ns


def _read_entries(file: Path) -> list[_Entry]:
    if not file.is_file():
        return []
    entries = []
    for line in file.read_bytes().splitlines():
        try:
            entries.append(_Entry.model_validate_json(line))
        except ValidationError:
            continue
    return entries
