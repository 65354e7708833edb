"""UCF101 (Soomro et al., 2012) as its two archives unpack, with its official splits.

UCF-101/<Class>/v_<Class>_gNN_cNN.avi
ucfTrainTestlist/{classInd,trainlist0K,testlist0K}.txt
"""

import logging
import re
from pathlib import Path, PurePosixPath

from stpa.config import DataConfig
from stpa.data.datasets.base import (
    ListedVideo,
    find_videos,
    name_some,
    raise_faults,
    split_faults,
)
from stpa.data.datasets.mirror import mirror
from stpa.data.manifest import Split
from stpa.errors import ConfigError, DataError
from stpa.progress import ReportProgress

_LISTS = "ucfTrainTestlist"
_GROUP = re.compile(r"_(g\d+)_c\d+$")

logger = logging.getLogger(__name__)


class Ucf101Dataset:
    """Reads the lists as published: CRLF ends, class numbers in the training lists alone."""

    def prepare(
        self,
        destination: Path,
        source: Path | None,
        config: DataConfig,
        progress: ReportProgress,
    ) -> None:
        """Copy the videos and lists of `source`, once they are known to agree."""
        if source is not None and source.is_dir():
            self.list_videos(source, config)
        mirror(source, destination, _find_files, progress)

    def list_videos(self, root: Path, config: DataConfig) -> list[ListedVideo]:
        """List the videos of one official split that are there.

        A listed video that is absent is logged; a class that lacks all its training or all its
        test videos is an error. Videos on no list are left out.
        """
        split_of = _read_split(root / _LISTS, config.split)
        class_names = [line.split()[-1] for line in _read_lines(root / _LISTS / "classInd.txt")]
        folder = "UCF-101/" if (root / "UCF-101").is_dir() else ""
        present = {
            path.relative_to(root / folder).as_posix()
            for path in find_videos(root)
            if path.is_relative_to(root / folder)
        }
        videos = [
            _listed(folder, path, split) for path, split in split_of.items() if path in present
        ]
        labelled = [(video.label, video.split) for video in videos]
        raise_faults(root, split_faults(labelled, class_names))
        if absent := sorted(split_of.keys() - present):
            logger.warning(
                "%d of %d listed videos are not in %s: %s",
                *(len(absent), len(split_of), root, name_some(absent)),
            )
        return videos


def _find_files(source: Path) -> list[Path]:
    return [*find_videos(source), *sorted((source / _LISTS).glob("*.txt"))]


def _read_split(lists: Path, number: int) -> dict[str, Split]:
    """Return the split of each listed path, as the lists write it: Class/file."""
    known = sorted(int(path.stem[-2:]) for path in lists.glob("testlist[0-9][0-9].txt"))
    if not known:
        raise DataError(
            f"no split lists in {lists}: unpack UCF101's archive of recognition splits there"
        )
    if number not in known:
        raise ConfigError(f"data.split {number} has no lists in {lists}: known are {known}")
    train = [line.rsplit(" ", 1)[0] for line in _read_lines(lists / f"trainlist{number:02}.txt")]
    test = _read_lines(lists / f"testlist{number:02}.txt")
    if shared := sorted(set(train) & set(test)):
        raise DataError(
            f"split {number} in {lists} trains on {len(shared)} of its test videos "
            f"({name_some(shared)}): take the lists as published"
        )
    split_of: dict[str, Split] = dict.fromkeys(train, "train")
    split_of.update(dict.fromkeys(test, "test"))
    return split_of


def _read_lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}): take the lists as published") from error
    return [line.strip() for line in lines if line.strip()]


def _listed(folder: str, path: str, split: Split) -> ListedVideo:
    name = PurePosixPath(path)
    found = _GROUP.search(name.stem)
    # UCF101 numbers its groups within a class.
    group = f"{name.parent}/{found[1] if found else name.stem}"
    return ListedVideo(path=folder + path, label=name.parts[0], group=group, split=split)
