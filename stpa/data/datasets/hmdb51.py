"""HMDB51 (Kuehne et al., 2011) with its official splits, all archives unpacked in one folder.

<class>/<movie>_<class>_<camera and quality>_<number>.avi
testTrainMulti_7030_splits/<class>_test_split{1,2,3}.txt
"""

import re
from pathlib import Path

from stpa.data.datasets.base import ListedVideo, find_videos
from stpa.data.datasets.listed import ListedDataset, Listing, check_split, read_list
from stpa.data.manifest import Split
from stpa.errors import DataError

_LISTS = "testTrainMulti_7030_splits"
_LIST_NAME = re.compile(r"(\w+)_test_split([0-9]+)\.txt")
_SPLITS: dict[str, Split | None] = {"0": None, "1": "train", "2": "test"}


class Hmdb51Dataset(ListedDataset):
    """Takes for a group what one class shows of one movie: that much no official split parts.

    The movie alone would not do. Of some 1,340, about 140 show several classes, and are trained
    on for one and tested on for another.
    """

    def read_lists(self, root: Path, split: int) -> Listing:
        """Read the lists of one of the three splits, one a class; each leaves videos unused."""
        lists = root / _LISTS
        found = [_LIST_NAME.fullmatch(path.name) for path in lists.glob("*.txt")]
        names = [name for name in found if name]
        check_split(split, (int(name[2]) for name in names), lists)
        class_names = tuple(sorted({name[1] for name in names}))
        videos: list[ListedVideo] = []
        unused: dict[str, tuple[str, ...]] = {}
        for label in class_names:
            for name, side in _read_class(lists / f"{label}_test_split{split}.txt"):
                path = f"{label}/{name}"
                if side is None:
                    unused[path] = (label,)
                else:
                    videos.append(ListedVideo(path, (label,), _group(label, name), side))
        return Listing(tuple(videos), unused, class_names)

    def find_files(self, root: Path) -> list[Path]:
        """Return all videos and the lists of all splits."""
        return [*find_videos(root), *sorted((root / _LISTS).glob("*.txt"))]


def _read_class(path: Path) -> list[tuple[str, Split | None]]:
    entries = []
    for line in read_list(path):
        name, _, number = line.rpartition(" ")
        if number not in _SPLITS:
            raise DataError(
                f"{path} has {line!r}, not a name and 0, 1 or 2: take the lists as published"
            )
        entries.append((name, _SPLITS[number]))
    return entries


def _group(label: str, name: str) -> str:
    # A movie's own title may hold the class too: How_to_pour_beer_pour_u_nm_np1_fr_goo_0.avi.
    movie, _, _ = name.rpartition(f"_{label}_")
    return f"{label}/{movie or name}"
