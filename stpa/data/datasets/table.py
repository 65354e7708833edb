"""Lists that are CSV tables: read strictly, each row after the line it ends on."""

import csv
from collections.abc import Sequence
from pathlib import Path

from stpa.data.datasets.base import name_some
from stpa.errors import DataError

Row = tuple[int, dict[str, str]]
"""The number of a row's last line, and its values by column, without the spaces round them."""


def read_table(path: Path, needed: Sequence[str], optional: Sequence[str] = ()) -> list[Row]:
    """Return the rows of a table with a header; a byte-order mark and CRLF ends are taken.

    Raises DataError for a file that cannot be read, lacks a `needed` column, has one of these or
    of the `optional` ones twice, holds no row, or one of another length than the header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:  # Excel writes the signature
            reader = csv.reader(stream, strict=True)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except FileNotFoundError as error:
        raise DataError(f"no {path.name} in {path.parent}: take the lists as published") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not CSV in UTF-8 ({error}): save it as such") from error
    names = rows[0][1] if rows else []
    missing = any(names.count(name) != 1 for name in needed)
    if missing or any(names.count(name) > 1 for name in optional):
        raise DataError(
            f"{path} needs the columns {', '.join(needed)}, each once and with commas between "
            f"them, but has {name_some(names) or 'none'}"
        )
    if len(rows) == 1:
        raise DataError(f"{path} lists no videos: add a line for each")
    for line, row in rows:
        if len(row) != len(names):
            raise DataError(
                f"{path} line {line} has {len(row)} values for {len(names)} columns: "
                "put values that hold commas in double quotes"
            )
    return [(line, dict(zip(names, row, strict=True))) for line, row in rows[1:]]
