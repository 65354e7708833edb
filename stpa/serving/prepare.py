"""The part of a prediction that happens in a process that may die: from a file to clips."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2

from stpa.config import DecodeConfig
from stpa.data.killable import lift_memory_limit
from stpa.data.probe import Probe, probe, reason_of
from stpa.data.storage import Folder
from stpa.errors import DataError, first_line
from stpa.evaluation.reading import Clip, Reading, describe_video
from stpa.serving.download import download
from stpa.serving.sources import is_address


@dataclass(frozen=True)
class Prepared:
    """All that the networks need of one video."""

    clips: Mapping[str, Clip]
    """By stream."""
    fps: float
    """Zero where the container does not say."""
    num_frames: int
    remarks: list[str]
    """What is odd about the video, which can be used nevertheless."""


def prepare(
    source: str, reading: Reading, limits: DecodeConfig, folder: Path, with_pictures: bool
) -> Prepared | str:
    """Read a video, downloaded first if `source` is an address; return the reason if that fails.

    Temporary files are below `folder`, which outlives this process if it is killed.
    """
    cv2.setNumThreads(1)  # there is one such process per core
    tempfile.tempdir = str(folder)
    path = Path(source)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            if is_address(source):
                path = download(source, Path(scratch))
            found = probe(path, limits)
            if not isinstance(found, Probe):
                return found
            lift_memory_limit()
            video = describe_video(path, found)
            clips = reading.read(video, Folder(path.parent), with_pictures=with_pictures)
        except (DataError, OSError) as error:
            return reason_of(error, path)
        except (ValueError, RuntimeError, cv2.error) as error:  # of a library, by this one video
            return f"cannot be read: {first_line(error)}"
    return Prepared(clips, video.fps, video.num_frames, found.remarks)
