"""What a classifier reads of a video: its optical flow, and the clip of each network.

Imports no networks, so that processes that only decode start quickly.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stpa.data.clips import ClipReader, stored_frames
from stpa.data.manifest import Video
from stpa.data.probe import Probe
from stpa.data.sampling import test_positions
from stpa.data.storage import Folder, Storage
from stpa.data.transforms import centre_crop, test_crops
from stpa.errors import DataError
from stpa.optical_flow.extract import extract_video
from stpa.shapes import Int, UInt8
from stpa.streams import RGB, Stream


class NetworkInput(NamedTuple):
    """The form in which a network takes its clips."""

    stream: Stream
    short_side: int
    """px."""
    input_size: int
    """px."""


@dataclass(frozen=True)
class Clip:
    """What one network takes of a video, at TSN's test positions."""

    positions: Int[np.ndarray, " time"]
    """Indices into the stream's stored frames, ascending."""
    crops: UInt8[np.ndarray, "crops time channels height width"]
    """The first one is the centre."""
    indices: Int[np.ndarray, " time"]
    """The video's frames that the positions stand for (`Stream.middle_frames`)."""
    pictures: UInt8[np.ndarray, "time 3 height width"] | None
    """The centre crop of these frames in RGB; None where no picture is to be drawn."""


@dataclass(frozen=True)
class Reading:
    """Which clips a classifier takes of any video."""

    inputs: Mapping[str, NetworkInput]
    """By stream."""
    num_segments: int
    num_crops: int
    optical_flow: Mapping[str, Any]
    """`OpticalFlowConfig`'s values."""

    def read(
        self,
        video: Video,
        storage: Storage,
        stored_flow: Storage | None = None,
        *,
        with_pictures: bool = False,
    ) -> dict[str, Clip]:
        """Read the clip of each stream of a video in `storage`. Raises DataError.

        `stored_flow` holds its optical flow, made as this classifier takes it. Without it, the
        flow is computed.
        """
        with self._flow_storage(video, storage, stored_flow) as flow_storage:
            return {
                stream: self._read_clip(each, video, storage, flow_storage, with_pictures)
                for stream, each in self.inputs.items()
            }

    @contextmanager
    def _flow_storage(
        self, video: Video, storage: Storage, stored_flow: Storage | None
    ) -> Iterator[Storage | None]:
        """Give the storage of the optical flow while the block runs; None if no stream reads it."""
        if not any(each.stream.reads_optical_flow for each in self.inputs.values()):
            yield None
        elif stored_flow is not None:
            yield stored_flow
        else:
            with tempfile.TemporaryDirectory() as folder:
                with storage.local(video.path) as path:
                    extract_video(
                        path,
                        Path(folder) / video.flow_path,
                        num_frames=video.num_frames,
                        source_sha256=video.sha256,
                        **self.optical_flow,
                    )
                yield Folder(Path(folder))

    def _read_clip(
        self,
        taken: NetworkInput,
        video: Video,
        storage: Storage,
        flow_storage: Storage | None,
        with_pictures: bool,
    ) -> Clip:
        stream, short_side, size = taken
        stored = flow_storage if stream.reads_optical_flow else storage
        assert stored is not None, "a stream that reads optical flow has its storage"
        num_frames, span = stored_frames(video, stream)
        positions = test_positions(num_frames, self.num_segments, span)
        clip = ClipReader(stream, stored, short_side).read(video, positions)
        crops = test_crops(clip, size, self.num_crops, stream)
        indices = stream.middle_frames(positions, video.num_frames)
        pictures = None
        if with_pictures and stream.rest_level is None:
            pictures = crops[0]
        elif with_pictures:  # the middle frame of each span shows what moved
            frames = ClipReader(RGB, storage, short_side).read(video, indices)
            pictures = centre_crop(frames, size)
        return Clip(positions, crops, indices, pictures)


def describe_video(path: Path, found: Probe | str) -> Video:
    """Describe a file that is in no manifest. Raises DataError where `found` is a reason."""
    if isinstance(found, str):
        raise DataError(f"{path} cannot be classified: {found}")
    return Video(
        video_id=path.stem,
        path=path.name,
        labels=(),
        intervals=(),
        group="",
        split="test",
        status="ok",
        reason="",
        **found.measures,
    )
