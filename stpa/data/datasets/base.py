"""What a dataset does for ingest, and the rules that every dataset keeps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from stpa.config import DataConfig
from stpa.data.manifest import Interval, Split, Video
from stpa.data.video_file import VIDEO_SUFFIXES
from stpa.errors import DataError
from stpa.progress import ReportProgress


@dataclass(frozen=True)
class ListedVideo:
    """What a dataset says of a video before anyone has opened it."""

    path: str
    """POSIX, relative to the dataset's root."""
    labels: tuple[str, ...]
    """As `Video.labels`: one, but in a multi-label dataset."""
    group: str
    split: Split
    intervals: tuple[Interval | None, ...] = ()
    """As `Video.intervals`."""


@runtime_checkable
class Dataset(Protocol):
    """Brings videos into a workspace and says what each of them shows."""

    def prepare(
        self,
        destination: Path,
        source: Path | None,
        config: DataConfig,
        progress: ReportProgress,
    ) -> None:
        """Make `destination` hold the dataset of `source`, or keep it where `source` is None.

        Can be killed and run again. Files in `destination` are replaced, never written into:
        they may be links into DVC's cache.
        """
        ...

    def list_videos(self, root: Path, config: DataConfig) -> list[ListedVideo]:
        """List the videos below `root`, in a stable order, by their names alone."""
        ...


def find_videos(root: Path) -> list[Path]:
    """Return the files below `root` with a video's suffix, sorted; hidden ones do not count."""
    return [path for path in find_files(root) if path.suffix.lower() in VIDEO_SUFFIXES]


def find_files(root: Path) -> list[Path]:
    """Return the files below `root`, sorted, without hidden files and folders."""
    return sorted(
        path
        for path in root.rglob("*")
        if path.is_file() and not any(is_hidden(part) for part in path.relative_to(root).parts)
    )


def require_folder(source: Path) -> None:
    """Raise DataError if `source` is no folder."""
    if not source.is_dir():
        raise DataError(f"{source} is not a folder: name the one that holds the videos")


def is_hidden(name: str) -> bool:
    """Tell whether a file name starts with a dot."""
    return name.startswith(".")


def split_faults(videos: Iterable[ListedVideo | Video], class_names: Iterable[str]) -> list[str]:
    """Say, for each class, which of its two splits is empty."""
    present = {(label, video.split) for video in videos for label in video.labels}
    faults = []
    for name in sorted(class_names):
        train, test = ((name, "train") in present), ((name, "test") in present)
        if not (train or test):
            faults.append(f"class {name!r} has no video")
        elif not (train and test):
            faults.append(f"class {name!r} has no {'test' if train else 'training'} video")
    return faults


def raise_faults(root: Path, faults: Sequence[str]) -> None:
    """Raise one DataError that lists the `faults` of the dataset at `root`, if there are any."""
    if faults:
        raise DataError(f"{root} is no dataset to train on: {_join_some(faults, '; ', limit=10)}")


def name_some(names: Sequence[str]) -> str:
    """Quote the first few of `names` for an error, and count the others."""
    return _join_some([repr(name) for name in names], ", ", limit=3)


def _join_some(parts: Sequence[str], separator: str, limit: int) -> str:
    shown = separator.join(parts[:limit])
    return f"{shown}{separator}and {len(parts) - limit} more" if len(parts) > limit else shown
