"""Charades (Sigurdsson et al., ECCV 2016): untrimmed videos, each with any number of actions.

Charades_v1_480/<id>.mp4 (or Charades_v1/, the original sizes)
Charades/Charades_v1_{train,test}.csv, Charades/Charades_v1_classes.txt

A row's `actions` are as `c092 11.90 21.20;c147 0.00 12.60`, in seconds, or empty.
"""

import logging
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from stpa.data.datasets.base import ListedVideo, find_videos, name_some, raise_faults
from stpa.data.datasets.listed import ListedDataset, Listing, check_split, read_list
from stpa.data.datasets.table import read_table
from stpa.data.manifest import Interval, Split
from stpa.errors import DataError

logger = logging.getLogger(__name__)

_LISTS = "Charades"
_FOLDERS = ("Charades_v1_480", "Charades_v1")
_ID = re.compile(r"[A-Za-z0-9_-]+")
_CLASS = re.compile(r"c\d+ .*\S")


class CharadesDataset(ListedDataset):
    """Takes all of a video's actions for its labels, named as its list of classes names them.

    There is one official split, number 1. A video is a recording of its own.
    """

    def read_lists(self, root: Path, split: int) -> Listing:
        """Read both lists; warn of actions that do not end after they start, which stay labels."""
        lists = root / _LISTS
        tables: dict[Split, Path] = {
            "train": lists / "Charades_v1_train.csv",
            "test": lists / "Charades_v1_test.csv",
        }
        check_split(split, [1 for path in tables.values() if path.is_file()], lists)
        names = _read_classes(lists / "Charades_v1_classes.txt")
        videos = tuple(
            video
            for side, path in tables.items()
            for video in _read_side(path, side, _video_folder(root), names)
        )
        if timeless := [video.path for video in videos if None in video.intervals]:
            logger.warning(
                "%d videos have actions that do not end after they start (%s): these stay labels, "
                "without their times",
                *(len(timeless), name_some(timeless)),
            )
        return Listing(videos, unused={}, class_names=tuple(names.values()))

    def find_files(self, root: Path) -> list[Path]:
        """Return the videos of one size, and the lists."""
        lists = sorted((root / _LISTS).glob("Charades_v1_*"))
        return [*find_videos(root / _video_folder(root)), *lists]


def _video_folder(root: Path) -> str:
    return next((name for name in _FOLDERS if (root / name).is_dir()), _FOLDERS[0])


def _read_classes(path: Path) -> dict[str, str]:
    """Return each line by the code that it starts with."""
    lines = read_list(path)
    names = {line.split()[0]: line for line in lines}
    if len(names) < len(lines) or not all(map(_CLASS.fullmatch, lines)):
        raise DataError(
            f"{path} is no list of classes, each code once, as `c000 Holding some clothes`: "
            "take it as published"
        )
    return names


def _read_side(
    path: Path, side: Split, folder: str, names: Mapping[str, str]
) -> Iterator[ListedVideo]:
    rows = read_table(path, ["id", "actions"])
    faults = [f"line {line}: {fault}" for line, row in rows for fault in _faults(row, names)]
    raise_faults(path, faults)
    for _, row in rows:
        video = f"{folder}/{row['id']}.mp4"
        actions = _actions(row)
        yield ListedVideo(
            path=video,
            labels=tuple(names[code] for code, *_ in actions),
            group=video,
            split=side,
            intervals=tuple(_interval(*times) for _, *times in actions),
        )


def _faults(row: dict[str, str], names: Mapping[str, str]) -> Iterator[str]:
    if not _ID.fullmatch(row["id"]):
        yield f"id {row['id']!r} is not one of letters, digits, - and _"
    for action in _actions(row):
        if len(action) != 3 or not all(map(_is_finite, action[1:])):
            yield f"action {' '.join(action)!r} is not a class, a start and an end in seconds"
        elif action[0] not in names:
            yield f"class {action[0]!r} is not in the list of classes"


def _actions(row: dict[str, str]) -> list[list[str]]:
    return [action.split() for action in row["actions"].split(";") if action.strip()]


def _is_finite(number: str) -> bool:
    try:
        return math.isfinite(float(number))
    except ValueError:
        return False


def _interval(start: str, end: str) -> Interval | None:
    interval = float(start), float(end)
    return interval if 0 <= interval[0] < interval[1] else None
