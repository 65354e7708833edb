"""Compare a downloaded dataset with its own lists, by names and sizes alone: nothing is decoded."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stpa.data.datasets import DATASETS, ListedDataset, find_dataset
from stpa.data.datasets.base import require_folder
from stpa.data.datasets.listed import find_contradictions, find_present
from stpa.errors import ConfigError


@dataclass(frozen=True)
class DatasetCheck:
    """How a folder and its lists agree; paths are relative to the folder, and sorted."""

    num_videos: int
    """Videos on the lists."""
    num_listed: Mapping[str, int]
    """How many of them show a class, by class."""
    num_missing: Mapping[str, int]
    """How many of these are not there, by class; complete classes are left out."""
    missing: tuple[str, ...]
    empty: tuple[str, ...]
    """Listed videos that are files without content, as a broken download leaves them."""
    unlisted: tuple[str, ...]
    """Videos that are there and on no list; ingest leaves them out."""
    contradictions: tuple[str, ...]
    """Where the lists disagree with themselves; ingest refuses them."""

    @property
    def complete(self) -> bool:
        """Whether every listed video is there with some content, and the lists agree."""
        return not (self.missing or self.empty or self.contradictions)


def check_dataset(source: Path, dataset: str, split: int) -> DatasetCheck:
    """Compare the videos below `source` with the lists of one split of a dataset in `DATASETS`.

    A video that the lists name but leave out of the split counts as listed. Raises ConfigError
    for a dataset without lists or without that split, DataError where the lists cannot be read.
    """
    found = find_dataset(dataset)
    if not isinstance(found, ListedDataset):
        having = [name for name, known in DATASETS.items() if isinstance(known, ListedDataset)]
        raise ConfigError(
            f"dataset {dataset} has no lists to compare with: only {', '.join(having)} have some"
        )
    require_folder(source)
    listing = found.read_lists(source, split)
    labels = {video.path: video.labels for video in listing.videos} | dict(listing.unused)
    present = find_present(source)
    missing = sorted(labels.keys() - present)
    return DatasetCheck(
        num_videos=len(labels),
        num_listed=Counter(label for shown in labels.values() for label in set(shown)),
        num_missing=Counter(label for path in missing for label in set(labels[path])),
        missing=tuple(missing),
        empty=tuple(
            path for path in sorted(labels.keys() & present) if not (source / path).stat().st_size
        ),
        unlisted=tuple(sorted(present - labels.keys())),
        contradictions=tuple(find_contradictions(listing.videos)),
    )
