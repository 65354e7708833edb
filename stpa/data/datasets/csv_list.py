"""A user's own list: videos.csv, and the videos it names below the folder it lies in.

path,label,split,group
session1/a.mp4,swim,train,session1
session2/b.mp4,swim,test,session2

`path` is relative to the folder, `split` is train or test. The column `group` may be left out or
empty: then each video is a recording of its own.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from stpa.data.datasets.base import (
    VIDEO_SUFFIXES,
    ListedVideo,
    is_hidden,
    raise_faults,
)
from stpa.data.datasets.listed import ListedDataset, Listing
from stpa.data.datasets.table import Row, read_table
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
        class_names = tuple(sorted({row["label"] for _, row in rows}))
        return Listing(videos, unused={}, class_names=class_names)

    def find_files(self, root: Path) -> list[Path]:
        """Return the list and the videos on it."""
        listed = (root / video.path for video in self.read_lists(root, 1).videos)
        return [root / _LIST, *listed]


def _read_rows(path: Path) -> list[Row]:
    if not path.is_file():
        raise DataError(
            f"no {_LIST} in {path.parent}: list the videos there in columns path, label, split "
            "(train or test) and, if recordings have several clips, group"
        )
    return read_table(path, _COLUMNS, optional=[_GROUP])


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
    return ListedVideo(path, (row["label"],), row.get(_GROUP) or path, split)
