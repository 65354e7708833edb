"""The manifest: one row a video, checked once at ingest and trusted by everything after it."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import from_json

from stpa.errors import DataError
from stpa.files import write_text
from stpa.shapes import Bool

Split = Literal["train", "test"]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Interval = tuple[Seconds, Seconds]
"""Start and end, the start before the end."""

_IN_JSON = ("labels", "intervals")
"""Columns that hold JSON, so that a label may be any text."""

_ADDED = ("num_lost",)
"""Columns that manifests of stpa 0.1 lack."""

_FromJson = BeforeValidator(lambda value: from_json(value) if isinstance(value, str) else value)


class Video(BaseModel):
    """One video. The measured fields of a quarantined one are zero or empty."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    video_id: Annotated[str, Field(min_length=1)]
    """`path` without its suffix: unique, and what optical flow and scores are filed under."""
    path: str
    """POSIX, relative to `Workspace.videos`."""
    labels: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], _FromJson]
    """What it shows. In an untrimmed video one can occur several times, or none at all."""
    intervals: Annotated[tuple[Interval | None, ...], _FromJson]
    """When, for each label in order, as annotated: an end may be past the video's. None where
    the annotation is no interval; empty where it has none."""
    group: str
    """The recording that the clip was cut from; a group lies in one split."""
    split: Split
    num_frames: Annotated[int, Field(ge=0)]
    """Frames that truly decode, whatever the container's header says."""
    fps: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Zero where the container does not say."""
    width: Annotated[int, Field(ge=0)]
    height: Annotated[int, Field(ge=0)]
    sha256: str
    status: Literal["ok", "quarantined"]
    reason: str
    num_lost: Annotated[int, Field(ge=0)] = 0
    """Frames beyond `num_frames` whose packets are damaged; readers pass over them."""

    def __str__(self) -> str:
        """Name the video, for an error."""
        return self.path

    @property
    def flow_path(self) -> str:
        """POSIX, relative to `Workspace.optical_flow`."""
        return f"{self.video_id}.avi"

    @property
    def feature_path(self) -> str:
        """POSIX, relative to a stream's folder of `Workspace.features`."""
        return f"{self.video_id}.safetensors"

    @model_validator(mode="after")
    def _is_coherent(self) -> "Video":
        path = PurePosixPath(self.path)
        if path.is_absolute() or ".." in path.parts or str(path) != self.path:
            raise ValueError(f"path {self.path!r} does not stay below the video folder")
        if self.video_id != str(path.with_suffix("")):
            raise ValueError(f"video_id {self.video_id!r} is not {self.path!r} without its suffix")
        if self.status == "ok" and min(self.num_frames, self.width, self.height) < 1:
            raise ValueError("an ok video needs frames, a width and a height")
        if self.intervals and len(self.intervals) != len(self.labels):
            raise ValueError("intervals must be none, or one for each label")
        if any(interval and interval[0] >= interval[1] for interval in self.intervals):
            raise ValueError("an interval must start before it ends")
        return self

    @property
    def distinct_labels(self) -> tuple[str, ...]:
        """Each label once."""
        return tuple(dict.fromkeys(self.labels))


@dataclass(frozen=True)
class Manifest:
    """All videos of a dataset, in a stable order."""

    videos: tuple[Video, ...]

    @property
    def usable(self) -> list[Video]:
        """Videos that are not quarantined."""
        return [video for video in self.videos if video.status == "ok"]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Sorted labels of the usable videos; a label's place is its class index."""
        return tuple(sorted(set().union(*(video.labels for video in self.usable))))

    @property
    def multi_label(self) -> bool:
        """Whether a usable video has several labels or none: classes do not exclude each other."""
        return any(len(video.distinct_labels) != 1 for video in self.usable)

    @property
    def quarantined(self) -> list[Video]:
        """Videos that cannot be used, each with its reason."""
        return [video for video in self.videos if video.status == "quarantined"]

    @property
    def group_of(self) -> dict[str, str]:
        """The group of each video, by its id."""
        return {video.video_id: video.group for video in self.videos}

    def select(self, split: Split) -> list[Video]:
        """Return the usable videos of one split."""
        return [video for video in self.usable if video.split == split]


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write `manifest` as CSV."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(Video.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(_to_row(video) for video in manifest.videos)
    write_text(path, text.getvalue())


def read_manifest(path: Path) -> Manifest:
    """Read what `write_manifest` wrote; raise DataError for anything else."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = csv.DictReader(stream, strict=True, restkey="surplus")
            videos = tuple(_parse_row(path, rows.line_num, row) for row in rows)
            columns = list(rows.fieldnames or [])
    except FileNotFoundError:
        raise DataError(f"no manifest at {path}: run `stpa ingest` first") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a manifest ({error}): run `stpa ingest` again") from error
    known = list(Video.model_fields)
    if columns not in (known, [name for name in known if name not in _ADDED]):
        raise DataError(f"{path} lacks the columns of a manifest: run `stpa ingest` again")
    manifest = Manifest(videos)
    if repeated := repeated_ids(video.video_id for video in manifest.usable):
        raise DataError(f"{path} lists {repeated[0]!r} twice: run `stpa ingest` again")
    return manifest


def label_matrix(
    videos: Sequence[Video], class_names: Sequence[str]
) -> Bool[np.ndarray, "videos classes"]:
    """Say which classes each video shows. Raises DataError for a label that is no class."""
    places = {name: place for place, name in enumerate(class_names)}
    shown = np.zeros((len(videos), len(class_names)), bool)
    if unknown := sorted({label for video in videos for label in video.labels} - places.keys()):
        raise DataError(f"labels {unknown} are not among the classes {list(class_names)}")
    for row, video in zip(shown, videos, strict=True):
        row[[places[label] for label in video.labels]] = True
    return shown


def repeated_ids(video_ids: Iterable[str]) -> list[str]:
    """Return the identifiers that occur more than once."""
    return [video_id for video_id, count in Counter(video_ids).items() if count > 1]


def _to_row(video: Video) -> dict[str, Any]:
    values = video.model_dump()
    return values | {name: json.dumps(values[name], ensure_ascii=False) for name in _IN_JSON}


def _parse_row(path: Path, line: int, row: dict[str, str]) -> Video:
    try:
        return Video.model_validate(row)
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(map(str, fault["loc"])) or "row"
        raise DataError(
            f"{path} line {line}: {field}: {fault['msg']}: run `stpa ingest` again"
        ) from error
