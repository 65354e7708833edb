"""When and where in a video its action is: to measure attention by, never to train on.

    annotations.json    as generated clips have it (`stpa.data.datasets.synthetic`)
    a table             path,frame,x0,y0,x1,y1 with one row per frame of the action, or
                        path,first_frame,last_frame with one row per part of it, for time alone
    the manifest        intervals, as Charades has them, for time alone

Frames are counted from 0, and `last_frame` belongs to the action. A box is in px of the ingested
video's frames, from their left and upper edge. Paths are below the folder of the videos.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from stpa.data.datasets.table import Row, read_table
from stpa.data.manifest import Video
from stpa.errors import DataError
from stpa.files import read_json
from stpa.shapes import Bool, Float

_PATH = "path"
_BOX = ("x0", "y0", "x1", "y1")
_FRAME_AND_BOX = ("frame", *_BOX)
_FIRST_AND_LAST = ("first_frame", "last_frame")
_PROBLEMS_SHOWN = 3


@dataclass(frozen=True)
class Action:
    """When one class is shown in a video, and where."""

    label: str
    in_action: Bool[np.ndarray, " frames"]
    """Of each frame of the video."""
    boxes: Float[np.ndarray, "frames 4"] | None
    """x0, y0, x1, y1, px; NaN in frames without one. None where only the time is known."""


GetActions = Callable[[Video], list[Action]]
"""From a video to its annotated actions, one per label at most; none where it is not annotated.

Raises DataError where the annotation does not fit the video.
"""


@dataclass(frozen=True)
class Annotations:
    """The annotated actions of videos."""

    actions: GetActions
    paths: frozenset[str]
    """Of the videos that a file names, known or not; none where the manifest has the actions."""

    def __call__(self, video: Video) -> list[Action]:
        """Return the actions of one video."""
        return self.actions(video)


_Parts = Mapping[str, list[tuple[int, int, tuple[float, ...] | None]]]
"""By path, first and last frame of parts of the action, and the box in them."""


def load_annotations(videos: Path, table: Path | None) -> Annotations:
    """Return the actions of a table, or else of the annotations in the folder of the videos, or
    else of the manifest's intervals. Raises DataError for a file that cannot be read.
    """
    if table is not None:
        return _in_parts(_read_table(table), table)
    generated = videos / "annotations.json"
    if generated.is_file():
        return _in_parts(_read_generated(generated), generated)
    return Annotations(interval_actions, paths=frozenset())


def interval_actions(video: Video) -> list[Action]:
    """Return the actions of a video's intervals, one per label that has any.

    A frame is in an action if the middle of the time that it is shown for is.
    """
    if video.fps == 0:
        return []
    seconds = (np.arange(video.num_frames) + 0.5) / video.fps
    found: dict[str, Action] = {}
    for label, interval in zip(video.labels, video.intervals, strict=False):
        if interval is not None:
            action = found.setdefault(label, Action(label, np.zeros(len(seconds), bool), None))
            action.in_action[(seconds >= interval[0]) & (seconds < interval[1])] = True
    return list(found.values())


def _in_parts(parts: _Parts, path: Path) -> Annotations:
    """Return the action of each video, which is that of its only label."""

    def get_actions(video: Video) -> list[Action]:
        if video.path not in parts:
            return []
        if len(video.distinct_labels) != 1:
            raise DataError(
                f"{path} does not say which action of {video} it means, which has "
                f"{len(video.distinct_labels)} labels: leave this video out of it"
            )
        in_action = np.zeros(video.num_frames, bool)
        boxes = np.full((video.num_frames, 4), np.nan)
        for first, last, box in parts[video.path]:
            if last >= video.num_frames:
                raise DataError(
                    f"{path} names frame {last} of {video}, which has {video.num_frames} frames: "
                    "count them from 0"
                )
            in_action[first : last + 1] = True
            if box is not None:
                boxes[first : last + 1] = box
        has_boxes = not np.isnan(boxes).all()
        return [Action(video.labels[0], in_action, boxes if has_boxes else None)]

    return Annotations(get_actions, frozenset(parts))


def _read_generated(path: Path) -> _Parts:
    try:
        actions: dict[str, Any] = read_json(path)
        return {
            video: [
                (frame, frame, tuple(map(float, box)))
                for frame, box in enumerate(action["boxes"], start=action["first_frame"])
            ]
            for video, action in actions.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path} is not as clips were generated with: ingest again") from error


def _read_table(path: Path) -> _Parts:
    if not path.is_file():
        raise DataError(f"there is no table of actions {path}")
    rows = read_table(path, [_PATH])
    columns = rows[0][1].keys()
    if columns == {_PATH, *_FRAME_AND_BOX}:
        first, last, box = "frame", "frame", _BOX
    elif columns == {_PATH, *_FIRST_AND_LAST}:
        (first, last), box = _FIRST_AND_LAST, ()
    else:
        raise DataError(
            f"{path} has the columns {', '.join(columns)}, but needs "
            f"{', '.join((_PATH, *_FRAME_AND_BOX))}, or {', '.join((_PATH, *_FIRST_AND_LAST))}"
        )
    if problems := list(islice(_find_problems(rows, first, last, box), _PROBLEMS_SHOWN)):
        raise DataError(f"{path} is no table of actions: {'; '.join(problems)}")
    found: dict[str, list[tuple[int, int, tuple[float, ...] | None]]] = {}
    for _, row in rows:
        corners = tuple(float(row[name]) for name in box) or None
        found.setdefault(row[_PATH], []).append((int(row[first]), int(row[last]), corners))
    return found


def _find_problems(rows: list[Row], first: str, last: str, box: tuple[str, ...]) -> Iterator[str]:
    seen = set()
    for line, row in rows:
        corners = [_number(row[name]) for name in box]
        x0, y0, x1, y1 = corners or (0, 0, 1, 1)
        if not all(row[name].isdecimal() for name in (first, last)):
            yield f"line {line}: a frame is no whole number from 0 on"
        elif int(row[first]) > int(row[last]):
            yield f"line {line}: {first} is after {last}"
        elif not (x0 < x1 and y0 < y1):  # NaN included
            yield f"line {line}: a box needs numbers with x0 below x1 and y0 below y1"
        elif box and (row[_PATH], int(row[first])) in seen:
            yield f"line {line}: {row[_PATH]} has two boxes in frame {row[first]}: give one"
        elif box:
            seen.add((row[_PATH], int(row[first])))


def _number(text: str) -> float:
    """Return a finite number; NaN for anything else."""
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan
