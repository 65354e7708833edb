"""A result as one flat row: the same columns in CSV, JSON lines and Parquet."""

from collections.abc import Sequence
from typing import Any

from stpa.serving.result import Result
from stpa.serving.sources import Source, is_address

Row = dict[str, Any]

_ENDS = ("seconds", "error", "model", "bytes", "modified")


def columns_of(top: int) -> tuple[str, ...]:
    """Return the columns of rows with the `top` best classes."""
    ranks = range(1, top + 1)
    best = [name for rank in ranks for name in (f"label_{rank}", f"probability_{rank}")]
    return ("path", "label", "probability", *best, *_ENDS)


def row_of(result: Result, source: Source, model: str, columns: Sequence[str]) -> Row:
    """Return one result as a row; None stands for what there is not."""
    row: Row = dict.fromkeys(columns) | {
        "path": result.path,
        "label": result.label or None,
        "probability": result.probability,
        "seconds": result.seconds,
        "error": result.error,
        "model": model,
        "bytes": source.size,
        "modified": source.modified or None,
    }
    for rank, (name, probability) in enumerate(result.scores.items(), start=1):
        if f"label_{rank}" in row:
            row |= {f"label_{rank}": name, f"probability_{rank}": probability}
    return row


def is_done(row: Row, source: Source, model: str) -> bool:
    """Return whether `row` is what `model` answered for this very file.

    What could not be read is tried again: a full disk or a lost connection may be over. An address
    has no size or time that is known ahead: one that was read is done.
    """
    if row["path"] != source.name or row["model"] != model or row["error"]:
        return False
    return is_address(source.path) or (row["bytes"] or None, row["modified"] or None) == (
        source.size or None,
        source.modified or None,
    )
