"""Clips for training and for validation: one of each video, with the video's labels."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, Protocol, TypedDict, runtime_checkable

import numpy as np
import torch
from torch.utils.data import Dataset

from stpa.data import transforms
from stpa.data.deadline import decoding, decoding_each
from stpa.data.decode import Positions, read_chunks, read_flow_stacks, read_frames
from stpa.data.keyed_random import keyed_generator
from stpa.data.manifest import Video, label_matrix
from stpa.data.storage import Storage
from stpa.shapes import Float, Int, UInt8
from stpa.streams import Stream


class View(TypedDict):
    """What a network takes of one video."""

    frames: torch.Tensor
    """uint8 frames [time, channels, height, width], or float16 features [time, values]."""
    box: NotRequired[Int[torch.Tensor, " 4"]]
    """The crop that is still to be made of the frames: top, left, height and width, px."""
    mirrored: NotRequired[bool]
    """Whether the crop is to be flipped."""


class Item(View):
    """One video's clip; a loader stacks them."""

    target: Float[torch.Tensor, " classes"]
    """1 for each of `class_names` that the video shows, else 0."""
    index: int
    """Place of the video in the dataset."""


@runtime_checkable
class ClipSource(Protocol):
    """Where clips come from: decoded and cropped, or stored as features."""

    def draw(self, video: Video, num_segments: int, rng: np.random.Generator) -> View:
        """Return a random view of a video, one position per segment."""
        ...

    def fixed(self, video: Video, num_segments: int) -> View:
        """Return the view that a video is judged by: the centre at the test positions, or, of
        stored features, at an even choice of the stored positions.
        """
        ...


def stored_frames(video: Video, stream: Stream) -> tuple[int, int]:
    """Return how many frames `stream` has of a video, and how many a clip takes per position."""
    return stream.stored_frames(video.num_frames), stream.span


@dataclass(frozen=True)
class ClipReader:
    """Reads clips of one stream, and resizes their short side."""

    stream: Stream
    storage: Storage
    """Holds the stream's files: the videos, or the stored optical flow."""
    short_side: int
    """px."""

    def read(
        self, video: Video, positions: Positions
    ) -> UInt8[np.ndarray, "time channels height width"]:
        """Read a clip at `positions`, in any order; channels are as the stream has them.

        Raises DataError, and RemoteError where a remote does not answer.
        """
        with self._local(video) as path, decoding():
            if not self.stream.reads_optical_flow:
                return self._read_frames(path, video, np.asarray(positions))
            clip = read_flow_stacks(path, positions, self.stream.span)
        return transforms.resize_short_side(clip, self.short_side)

    def read_chunks(
        self, video: Video, positions: Int[np.ndarray, " time"], size: int
    ) -> Iterator[UInt8[np.ndarray, "_chunk channels height width"]]:
        """Yield what `read` returns of ascending positions, at most `size` at a time."""
        if self.stream.span > 1:  # spans overlap, and stored flow is read in place
            for start in range(0, len(positions), size):
                yield self.read(video, positions[start : start + size])
            return
        with self._local(video) as path:
            chunks = read_chunks(
                path, positions, size, num_frames=video.num_frames, prepare=self._resize
            )
            for frames in decoding_each(chunks):
                yield np.ascontiguousarray(frames.transpose(0, 3, 1, 2))

    def _read_frames(
        self, path: Path, video: Video, positions: Int[np.ndarray, " time"]
    ) -> UInt8[np.ndarray, "time channels height width"]:
        spans = positions[:, None] + np.arange(self.stream.span)  # [time, span]
        wanted = np.minimum(spans, video.num_frames - 1)  # of a video shorter than a span
        frames = read_frames(
            path, wanted.ravel(), num_frames=video.num_frames, prepare=self._resize
        )
        planes = np.ascontiguousarray(frames.transpose(0, 3, 1, 2))  # to: frames 3 h w
        return self.stream.stack(planes.reshape(*spans.shape, *planes.shape[1:]))

    def _resize(
        self, image: UInt8[np.ndarray, "height width 3"]
    ) -> UInt8[np.ndarray, "rows columns 3"]:
        """Resize one frame, before the next is read: a clip of 8K frames takes gigabytes."""
        planes = np.ascontiguousarray(image.transpose(2, 0, 1))[None]
        return transforms.resize_short_side(planes, self.short_side)[0].transpose(1, 2, 0)

    def _local(self, video: Video) -> AbstractContextManager[Path]:
        return self.storage.local(video.flow_path if self.stream.reads_optical_flow else video.path)


class Clips(Dataset[Item]):
    """One clip of each video."""

    def __init__(
        self,
        videos: Sequence[Video],
        class_names: Sequence[str],
        source: ClipSource,
        *,
        num_segments: int,
    ) -> None:
        self._videos = videos
        self.targets = torch.from_numpy(label_matrix(videos, class_names)).float()
        self._source = source
        self._num_segments = num_segments

    def __len__(self) -> int:
        return len(self._videos)

    def video(self, place: int) -> Video:
        """Return the video of an item, in whatever pass over the videos."""
        return self._videos[place % len(self._videos)]

    def _item(self, view: View, index: int) -> Item:
        return {**view, "target": self.targets[index], "index": index}


class TrainClips(Clips):
    """Random views of the videos.

    What is drawn depends on (seed, epoch, pass, video) alone, so a resumed run sees the same clips
    whatever the order, the workers or the batch size. An item's place is the video's index plus
    the number of videos for each pass of the epoch before (`StepSampler`).
    """

    def __init__(
        self,
        videos: Sequence[Video],
        class_names: Sequence[str],
        source: ClipSource,
        *,
        num_segments: int,
        seed: int,
    ) -> None:
        super().__init__(videos, class_names, source, num_segments=num_segments)
        self._seed = seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Draw other clips from here on, in processes that copies were sent to as well."""
        self._epoch.fill_(epoch)

    def __getitem__(self, place: int) -> Item:
        number, index = divmod(place, len(self._videos))
        video = self._videos[index]
        rng = keyed_generator(self._seed, int(self._epoch), number, video.video_id)
        return self._item(self._source.draw(video, self._num_segments, rng), index)


class FixedClips(Clips):
    """The view of each video that it is judged by: the same whenever it is read."""

    def __getitem__(self, index: int) -> Item:
        return self._item(self._source.fixed(self._videos[index], self._num_segments), index)
