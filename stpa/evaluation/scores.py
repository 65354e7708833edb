"""The scores file: all that fusion, comparison and promotion read of a trained network.

Parquet, a row a video: its id, its label's index, and its logits for every K. What holds for
all rows (stream, head, model, data version, class names) is JSON in the schema's metadata.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stpa.errors import DataError, one_line
from stpa.files import atomic_path
from stpa.shapes import Float, Int

if TYPE_CHECKING:
    import pyarrow as pa

_METADATA_KEY = b"stpa.scores"
_LOGITS_PREFIX = "logits_k"
_TEXTS = ("stream", "head", "model_key", "data_version")


@dataclass(frozen=True)
class Scores:
    """One network's logits, never probabilities, on one version of the test videos."""

    stream: str
    head: str
    model_key: str
    data_version: str
    class_names: tuple[str, ...]
    video_ids: tuple[str, ...]
    labels: Int[np.ndarray, " videos"]
    """Indices into `class_names`."""
    logits: dict[int, Float[np.ndarray, "videos classes"]]
    """By K, the number of segments that a video was judged from."""

    def at(self, num_segments: int) -> Float[np.ndarray, "videos classes"]:
        """Return the logits of one K, or raise a DataError that lists those there are."""
        if num_segments not in self.logits:
            raise DataError(
                f"no {self.stream} scores at K={num_segments}, only at {sorted(self.logits)}: "
                "evaluate with this K in the sweep"
            )
        return self.logits[num_segments]


def write_scores(path: Path, scores: Scores) -> None:
    """Write a scores file, atomically; logits are kept in 32 bits."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, pa.Array] = {
        "video_id": pa.array(scores.video_ids, pa.string()),
        "label": pa.array(scores.labels, pa.int64()),
    }
    for num_segments, logits in sorted(scores.logits.items()):
        values = pa.array(logits.astype(np.float32).ravel())
        columns[f"{_LOGITS_PREFIX}{num_segments}"] = pa.FixedSizeListArray.from_arrays(
            values, len(scores.class_names)
        )
    header = {name: getattr(scores, name) for name in (*_TEXTS, "class_names")}
    table = pa.table(columns).replace_schema_metadata({_METADATA_KEY: json.dumps(header)})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def read_scores(path: Path) -> Scores:
    """Read a scores file. Raises DataError for one that is damaged or breaks a rule of `Scores`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        metadata = table.schema.metadata or {}
        _require(_METADATA_KEY in metadata, "it has no header")
        return _assemble(table, json.loads(metadata[_METADATA_KEY]))
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        reason = one_line(error)
        raise DataError(f"{path} cannot be used as scores ({reason}): evaluate again") from error


def _assemble(table: "pa.Table", header: dict[str, Any]) -> Scores:
    """Check everything that a file may have wrong; raise ValueError for the first fault."""
    for name in _TEXTS:
        _require(isinstance(header[name], str), f"its {name} is no text")
    class_names = tuple(header["class_names"])
    _require(all(isinstance(name, str) for name in class_names), "a class name is no text")
    _require(len(set(class_names)) == len(class_names), "class names repeat")
    video_ids = tuple(table["video_id"].to_pylist())
    _require(len(video_ids) > 0, "it holds no video")
    _require(all(isinstance(name, str) for name in video_ids), "a video id is no text")
    _require(len(set(video_ids)) == len(video_ids), "video ids repeat")
    labels = _to_labels(table["label"], len(class_names))
    logits = {
        int(name.removeprefix(_LOGITS_PREFIX)): _to_logits(table[name], len(class_names))
        for name in table.column_names
        if name.startswith(_LOGITS_PREFIX)
    }
    _require(len(logits) > 0 and min(logits) >= 1, "its logits are of no number of segments")
    return Scores(
        **{name: header[name] for name in _TEXTS},
        class_names=class_names,
        video_ids=video_ids,
        labels=labels,
        logits=logits,
    )


def _to_labels(column: "pa.ChunkedArray", num_classes: int) -> Int[np.ndarray, " videos"]:
    labels = column.to_numpy()
    _require(labels.dtype == np.int64, "a label is no whole number")
    _require(bool(((labels >= 0) & (labels < num_classes)).all()), "a label names no class")
    return labels


def _to_logits(column: "pa.ChunkedArray", num_classes: int) -> Float[np.ndarray, "videos classes"]:
    import pyarrow as pa

    expected = pa.list_(pa.float32(), num_classes)
    _require(column.type == expected, f"logits are {column.type} where {expected} was expected")
    logits = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    _require(bool(np.isfinite(logits).all()), "a logit is not finite")
    return logits.reshape(-1, num_classes)


def _require(holds: bool, fault: str) -> None:
    if not holds:
        raise ValueError(fault)
