"""Remember probed videos, so that a killed ingest goes on and an unchanged one decodes nothing."""

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from stpa.data.probe import Probe
from stpa.files import append_record, read_records, write_text


class _Entry(BaseModel):
    """One probe. Failures are not kept: a busy machine's deadline may pass next time."""

    path: str
    size: int
    mtime_ns: int
    probe: Probe


_RECORD = TypeAdapter(_Entry)


class ProbeCache:
    """Probes by path, size and modification time, in a file of records; each is appended."""

    def __init__(self, file: Path, root: Path, paths: Iterable[Path]) -> None:
        """Load what `file` knows of `paths`, which lie below `root`, and forget all else."""
        self._file = file
        self._root = root
        current = {self._key(path): path for path in paths}
        entries = [
            entry for entry in read_records(file, _RECORD.validate_json) if _key(entry) in current
        ]
        self.probes = {current[_key(entry)]: entry.probe for entry in entries}
        kept = "\n".join(entry.model_dump_json() for entry in entries)
        if not file.is_file() or file.read_bytes() != kept.encode():
            write_text(file, kept)

    def add(self, path: Path, probe: Probe) -> None:
        """Remember one more probe."""
        name, size, mtime_ns = self._key(path)
        entry = _Entry(path=name, size=size, mtime_ns=mtime_ns, probe=probe)
        append_record(self._file, entry.model_dump_json())
        self.probes[path] = probe

    def _key(self, path: Path) -> tuple[str, int, int]:
        status = path.stat()
        return path.relative_to(self._root).as_posix(), status.st_size, status.st_mtime_ns


def _key(entry: _Entry) -> tuple[str, int, int]:
    return entry.path, entry.size, entry.mtime_ns
