"""UCF101 (Soomro et al., 2012) as its two archives unpack, with its official splits.

UCF-101/<Class>/v_<Class>_gNN_cNN.avi
ucfTrainTestlist/{classInd,trainlist0K,testlist0K}.txt
"""

import re
from pathlib import Path, PurePosixPath

from stpa.data.datasets.base import ListedVideo, find_videos
from stpa.data.datasets.listed import ListedDataset, Listing, check_split, read_list
from stpa.data.manifest import Split

_LISTS = "ucfTrainTestlist"
_GROUP = re.compile(r"_(g\d+)_c\d+$")


class Ucf101Dataset(ListedDataset):
    """Reads the lists as published: CRLF ends, class numbers in the training lists alone."""

    def read_lists(self, root: Path, split: int) -> Listing:
        """Read the lists of one of the three splits; the class folders may lie beside them."""
        lists = root / _LISTS
        known = (int(path.stem[-2:]) for path in lists.glob("testlist[0-9][0-9].txt"))
        check_split(split, known, lists)
        folder = "UCF-101/" if (root / "UCF-101").is_dir() else ""
        train = [line.rsplit(" ", 1)[0] for line in read_list(lists / f"trainlist{split:02}.txt")]
        test = read_list(lists / f"testlist{split:02}.txt")
        return Listing(
            videos=(
                *(_listed(folder, path, "train") for path in train),
                *(_listed(folder, path, "test") for path in test),
            ),
            unused={},
            class_names=tuple(line.split()[-1] for line in read_list(lists / "classInd.txt")),
        )

    def find_files(self, root: Path) -> list[Path]:
        """Return all videos and the lists of all splits."""
        return [*find_videos(root), *sorted((root / _LISTS).glob("*.txt"))]


def _listed(folder: str, path: str, split: Split) -> ListedVideo:
    label = path.partition("/")[0]
    stem = PurePosixPath(path).stem
    found = _GROUP.search(stem)
    # UCF101 numbers its groups within a class.
    group = f"{label}/{found[1] if found else stem}"
    return ListedVideo(path=folder + path, labels=(label,), group=group, split=split)
