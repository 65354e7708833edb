"""What datasets share whose own lists say which video is in which split."""

import logging
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from stpa.config import DataConfig
from stpa.data.datasets.base import (
    ListedVideo,
    find_videos,
    name_some,
    raise_faults,
    split_faults,
)
from stpa.data.datasets.mirror import MirroredDataset
from stpa.data.manifest import repeated_ids
from stpa.errors import ConfigError, DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listing:
    """What the lists of one split name, whether it is there or not."""

    videos: tuple[ListedVideo, ...]
    unused: Mapping[str, tuple[str, ...]]
    """By path, the labels of videos that the lists name but leave out of this split."""
    class_names: tuple[str, ...]


class ListedDataset(MirroredDataset):
    """A dataset that lies in a folder with its lists; the lists are kept as they are."""

    must_be_whole: ClassVar[bool] = False
    """Whether an absent video is an error; of large downloads, some are never complete."""

    @abstractmethod
    def read_lists(self, root: Path, split: int) -> Listing:
        """Read the lists of one split below `root`.

        Raises DataError where they are absent or unreadable, ConfigError for a split that the
        dataset does not have.
        """

    def list_videos(self, root: Path, config: DataConfig) -> list[ListedVideo]:
        """List the videos of split `config.split` that are there; tell of those that are not.

        Videos on no list are left out. Raises one DataError with all that is wrong: a video
        listed twice, a group in both splits, a class that lacks training or test videos.
        """
        listing = self.read_lists(root, config.split)
        present = find_present(root)
        videos = [video for video in listing.videos if video.path in present]
        faults = [
            *find_contradictions(listing.videos),
            *split_faults(videos, listing.class_names),
        ]
        if absent := [video.path for video in listing.videos if video.path not in present]:
            absence = (
                f"{len(absent)} of {len(listing.videos)} listed videos are not there "
                f"({name_some(absent)})"
            )
            if self.must_be_whole:
                faults.insert(0, absence)
            else:
                logger.warning("%s: %s", root, absence)
        raise_faults(root, faults)
        return videos


def find_present(root: Path) -> set[str]:
    """Return the videos below `root` as a list would write them: relative, with slashes."""
    return {path.relative_to(root).as_posix() for path in find_videos(root)}


def read_list(path: Path) -> list[str]:
    """Return the lines of a published list; raise DataError if there are none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}): take the lists as published") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path} is empty: take the lists as published")
    return lines


def check_split(split: int, known: Iterable[int], lists: Path) -> None:
    """Raise DataError if the folder `lists` has none, ConfigError if it has no such split."""
    numbers = sorted(set(known))
    if not numbers:
        raise DataError(f"no split lists in {lists}: unpack the dataset's archive of splits there")
    if split not in numbers:
        raise ConfigError(f"data.split {split} has no lists in {lists}: known are {numbers}")


def find_contradictions(videos: Sequence[ListedVideo]) -> list[str]:
    """Say where lists name a video twice, or put a group in both splits."""
    twice = repeated_ids(video.path for video in videos)
    splits_of: dict[str, set[str]] = defaultdict(set)
    for video in videos:
        splits_of[video.group].add(video.split)
    shared = [group for group, splits in splits_of.items() if len(splits) > 1]
    return [
        *[f"{path!r} is listed twice" for path in twice],
        *[f"group {group!r} is in both splits" for group in shared],
    ]
