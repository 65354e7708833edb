"""A user's own list: videos.csv, and the videos it names below the folder it lies in.

path,label,split,group
session1/a.mp4,swim,train,session1
session2/b.mp4,swim,test,session2

`path` is relative to the folder, `split` is train or test. The column `group` may be left out or
empty: then each video is a recording of its own.
"""

import csv
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from stpa.data.datasets.base import (
    VIDEO_SUFFIXES,
    ListedVideo,
    is_hidden,
    name_some,
    raise_faults,
)
from stpa.data.datasets.listed import ListedDataset, Listing
from stpa.errors import DataError

_LIST = "videos.csv"
_COLUMNS = ("path", "label", "split")
_GROUP = "group"


class CsvDataset(ListedDataset):
    """Takes the list at its word: it has one split, and all of its videos must be there."""

    must_be_whole = True

    def read_lists(self, root: Path, split: int) -> Listing:
        """Read the list, whatever the number of the `split`."""
        rows = _read_rows(root / _LIST)
        raise_faults(
            root, [f"line {line}: {fault}" for line, row in rows for fault in _faults(row)]
        )
        videos = tuple(_listed(row) for _, row in rows)
        class_names = tuple(sorted({video.label for video in videos}))
        return Listing(videos, unused={}, class_names=class_names)

    def find_files(self, root: Path) -> list[Path]:
        """Return the list and the videos on it."""
        listed = (root / video.path for video in self.read_lists(root, 1).videos)
        return [root / _LIST, *listed]


def _read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return each row, without the spaces round its values, after the line that it ends on."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:  # Excel writes the signature
            reader = csv.reader(stream, strict=True)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except FileNotFoundError:
        raise DataError(
            f"no {_LIST} in {path.parent}: list the videos there in columns path, label, split "
            "(train or test) and, if recordings have several clips, group"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not CSV in UTF-8 ({error}): save it as such") from error
    names = rows[0][1] if rows else []
    if any(names.count(name) != 1 for name in _COLUMNS) or names.count(_GROUP) > 1:
        raise DataError(
            f"{path} needs the columns {', '.join(_COLUMNS)}, each once and with commas between "
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


def _faults(row: dict[str, str]) -> Iterator[str]:
    path = PurePosixPath(row["path"])
    if path.is_absolute() or ".." in path.parts:
        yield f"path {row['path']!r} leaves the folder of {_LIST}"
    elif path.suffix.lower() not in VIDEO_SUFFIXES or any(map(is_hidden, path.parts)):
        yield f"path {row['path']!r} does not name a video"
    if not row["label"]:
        yield "label is empty"
    if row["split"] not in ("train", "test"):
        yield f"split {row['split']!r} is neither train nor test"


def _listed(row: dict[str, str]) -> ListedVideo:
    path = str(PurePosixPath(row["path"]))
    split = "train" if row["split"] == "train" else "test"
    return ListedVideo(path, row["label"], row.get(_GROUP) or path, split)
