"""The file that results are written to as they come, and go on from after a kill.

CSV and JSON lines grow by whole rows. Parquet cannot grow: its rows are kept as JSON lines next to
it, and become the table when the batch ends.
"""

import csv
import fcntl
import io
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from stpa.errors import UsageError
from stpa.files import atomic_path
from stpa.serving.rows import Row

FORMATS = (".csv", ".jsonl", ".parquet")
_TABLE = ".parquet"
_NUMBERS: dict[str, Callable[[str], Any]] = {"probability": float, "seconds": float, "bytes": int}
"""What is no text, by the column's name without its rank."""


def check_result_file(path: Path) -> None:
    """Raise UsageError unless `path` ends in one of `FORMATS` and its folder is there."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(
            f"no results can be written as {path.name!r}: end its name in {', '.join(FORMATS)}"
        )
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"{path} cannot be written: name a file in a folder that is there")


def read_rows(path: Path, columns: Sequence[str]) -> list[Row]:
    """Return the rows of a file of results; none where there is no such file.

    Raises UsageError where it has other columns.
    """
    lines = _lines_of(path)
    if lines.exists():
        whole, _torn = _split_torn(lines.read_bytes())
        if not whole:
            return []
        read = _read_csv if lines.suffix.lower() == ".csv" else _read_json_lines
        found, rows = read(whole.decode())
    elif path.exists():
        found, rows = _read_table(path)
    else:
        return []
    if found != tuple(columns):
        raise UsageError(
            f"{path} has other columns ({', '.join(found)}): give the options that it was written "
            "with, or name another file"
        )
    return rows


class ResultFile:
    """Rows of equal columns, in a file that one process at a time adds to."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        """Open a file, or begin it. Raises UsageError where its rows have other columns."""
        self._path = path
        self._columns = tuple(columns)
        self.rows = read_rows(path, columns)
        """Those that were there."""
        self._lines = _lines_of(path)
        self._is_csv = path.suffix.lower() == ".csv"
        if self.rows and not self._lines.exists():  # of a table: whole before anything is added
            with atomic_path(self._lines) as temporary:
                temporary.write_text(self._encode(self.rows), encoding="utf-8")
        self._descriptor = os.open(self._lines, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise UsageError(f"another process writes {path}: wait until it is done") from None
        whole, torn = _split_torn(self._lines.read_bytes())
        if torn:  # by a crash of the machine
            os.ftruncate(self._descriptor, len(whole))
        if self._is_csv and not whole:
            os.write(self._descriptor, _csv_line(self._columns).encode())

    def append(self, rows: Iterable[Row]) -> None:
        """Add rows: all of them or, if this process is killed, none."""
        os.write(self._descriptor, self._encode(rows).encode())

    def close(self) -> None:
        """Write the table, where the format is one, and let other processes add to the file."""
        if self._lines != self._path:
            rows = read_rows(self._path, self._columns)
            with atomic_path(self._path) as temporary:
                _write_table(temporary, rows, self._columns)
            self._lines.unlink()
        os.close(self._descriptor)

    def _encode(self, rows: Iterable[Row]) -> str:
        if self._is_csv:
            return "".join(_csv_line([row[name] for name in self._columns]) for row in rows)
        return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def _lines_of(path: Path) -> Path:
    """Return the file that grows: the results' own or, of a table, one next to it."""
    return path.with_name(f"{path.name}.jsonl") if path.suffix.lower() == _TABLE else path


def _split_torn(written: bytes) -> tuple[bytes, bytes]:
    """Part what was written into whole lines and the rest."""
    end = written.rfind(b"\n") + 1
    return written[:end], written[end:]


def _csv_line(values: Sequence[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)  # None becomes an empty cell
    return line.getvalue()


def _read_csv(text: str) -> tuple[tuple[str, ...], list[Row]]:
    """Return the columns and the rows of a file with a header."""
    lines = csv.DictReader(io.StringIO(text, newline=""))
    rows = [
        {name: _converter(name)(value) if value else None for name, value in row.items()}
        for row in lines
    ]
    return tuple(lines.fieldnames or ()), rows


def _read_json_lines(text: str) -> tuple[tuple[str, ...], list[Row]]:
    """Return the columns, which are those of the first row, and the rows."""
    rows = [json.loads(line) for line in text.split("\n") if line]
    return tuple(rows[0]), rows


def _converter(column: str) -> Callable[[str], Any]:
    """Return what makes a column's value of its text; a rank at the column's end does not count."""
    return _NUMBERS.get(column.rstrip("_0123456789"), str)


def _read_table(path: Path) -> tuple[tuple[str, ...], list[Row]]:
    from pyarrow import parquet  # slow to import

    table = parquet.read_table(path)
    return tuple(table.column_names), table.to_pylist()


def _write_table(path: Path, rows: list[Row], columns: Sequence[str]) -> None:
    import pyarrow
    from pyarrow import parquet

    types = {str: pyarrow.string(), float: pyarrow.float64(), int: pyarrow.int64()}
    fields = [(name, types[_converter(name)]) for name in columns]
    parquet.write_table(pyarrow.Table.from_pylist(rows, pyarrow.schema(fields)), path)
