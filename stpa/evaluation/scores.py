"""The scores file: all that fusion, comparison and promotion read of a trained network.

Parquet, a row a video: its id, whether it shows each class, and its logits for every K. What
holds for all rows (stream, head, model, data version, class names, whether a video has any number
of labels) is JSON in the schema's metadata.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stpa.errors import DataError, one_line
from stpa.evaluation.judging import Judging, judging_of
from stpa.files import atomic_path
from stpa.shapes import Bool, Float

if TYPE_CHECKING:
    import pyarrow as pa

_METADATA_KEY = b"stpa.scores"
_LOGITS_PREFIX = "logits_k"
_TEXTS = ("stream", "head", "model_key", "data_version")
_HEADER = (*_TEXTS, "class_names", "multi_label")


@dataclass(frozen=True)
class Scores:
    """One network's logits, never probabilities, on one version of the test videos."""

    stream: str
    head: str
    model_key: str
    data_version: str
    class_names: tuple[str, ...]
    multi_label: bool
    """As `Manifest.multi_label`; else each video has exactly one label."""
    video_ids: tuple[str, ...]
    labels: Bool[np.ndarray, "videos classes"]
    """Whether a video shows a class; some video shows one."""
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

    @property
    def judging(self) -> Judging:
        """How these scores are judged."""
        return judging_of(self.multi_label)

    def figures(self, num_segments: int) -> dict[str, float]:
        """Return the figures at one K by name, the headline first."""
        return self.judging.figures(self.at(num_segments), self.labels)

    def headline(self, num_segments: int) -> float:
        """Return the figure that decides, at one K."""
        return self.figures(num_segments)[self.judging.headline]


def write_scores(path: Path, scores: Scores) -> None:
    """Write a scores file, atomically; logits are kept in 32 bits."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, pa.Array] = {
        "video_id": pa.array(scores.video_ids, pa.string()),
        "labels": _to_lists(scores.labels),
    }
    for num_segments, logits in sorted(scores.logits.items()):
        columns[f"{_LOGITS_PREFIX}{num_segments}"] = _to_lists(logits.astype(np.float32))
    header = {name: getattr(scores, name) for name in _HEADER}
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
    import pyarrow as pa

    for name in _TEXTS:
        _require(isinstance(header[name], str), f"its {name} is no text")
    class_names = tuple(header["class_names"])
    _require(all(isinstance(name, str) for name in class_names), "a class name is no text")
    _require(len(set(class_names)) == len(class_names), "class names repeat")
    video_ids = tuple(table["video_id"].to_pylist())
    _require(len(video_ids) > 0, "it holds no video")
    _require(all(isinstance(name, str) for name in video_ids), "a video id is no text")
    _require(len(set(video_ids)) == len(video_ids), "video ids repeat")
    multi_label = header["multi_label"]
    _require(isinstance(multi_label, bool), "its multi_label is neither true nor false")
    labels = _to_matrix(table["labels"], pa.bool_(), len(class_names))
    _require(bool(labels.any()), "no video has a label")
    _require(
        multi_label or bool((labels.sum(axis=1) == 1).all()), "a video has not exactly one label"
    )
    logits = {
        int(name.removeprefix(_LOGITS_PREFIX)): _to_logits(table[name], len(class_names))
        for name in table.column_names
        if name.startswith(_LOGITS_PREFIX)
    }
    _require(len(logits) > 0 and min(logits) >= 1, "its logits are of no number of segments")
    return Scores(
        **{name: header[name] for name in _TEXTS},
        class_names=class_names,
        multi_label=multi_label,
        video_ids=video_ids,
        labels=labels,
        logits=logits,
    )


def _to_lists(values: np.ndarray) -> "pa.FixedSizeListArray":
    """Turn a row a video into a list a video."""
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def _to_matrix(column: "pa.ChunkedArray", kind: "pa.DataType", num_classes: int) -> np.ndarray:
    """Undo `_to_lists` for values of a `kind`; raise ValueError for anything else."""
    import pyarrow as pa

    expected = pa.list_(kind, num_classes)
    _require(column.type == expected, f"{column.type} is there where {expected} was expected")
    lists = column.combine_chunks()
    values = lists.flatten()
    _require(lists.null_count == values.null_count == 0, "a value is missing")
    return values.to_numpy(zero_copy_only=False).reshape(-1, num_classes)


def _to_logits(column: "pa.ChunkedArray", num_classes: int) -> Float[np.ndarray, "videos classes"]:
    import pyarrow as pa

    logits = _to_matrix(column, pa.float32(), num_classes)
    _require(bool(np.isfinite(logits).all()), "a logit is not finite")
    return logits


def _require(holds: bool, fault: str) -> None:
    if not holds:
        raise ValueError(fault)
