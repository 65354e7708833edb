"""Clips of the two streams: at random places for training, at fixed ones for evaluation."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch.utils.data import Dataset

from stpa.data import transforms
from stpa.data.decode import Positions, read_chunks, read_flow_stacks, read_frames
from stpa.data.manifest import Video
from stpa.data.sampling import STACK_LENGTH, train_positions
from stpa.errors import DataError
from stpa.files import digest_value
from stpa.shapes import Int, UInt8


class Item(TypedDict):
    """One video's clip; a loader stacks them."""

    frames: UInt8[torch.Tensor, "time channels height width"]
    label: int
    """Place of the video's label in `class_names`."""
    index: int
    """Place of the video in the dataset."""


def stored_frames(video: Video, stream: str) -> tuple[int, int]:
    """Return how many frames `stream` ("rgb" or "flow") has of a video, and how many a clip
    takes at each position."""
    return (video.num_frames, 1) if stream == "rgb" else (video.num_frames - 1, STACK_LENGTH)


def load_clip(
    video: Video, stream: str, root: Path, positions: Positions, short_side: int
) -> UInt8[np.ndarray, "time channels height width"]:
    """Read a clip at `positions` and resize its short side.

    `root` holds the stream's files: the videos, or the stored optical flow. Channels are R G B,
    or x y x y ... Raises DataError.
    """
    if stream == "rgb":
        frames = read_frames(root / video.path, positions)
        clip = np.ascontiguousarray(frames.transpose(0, 3, 1, 2))
    else:
        clip = read_flow_stacks(root / f"{video.video_id}.avi", positions, STACK_LENGTH)
    return transforms.resize_short_side(clip, short_side)


def load_test_clip(
    video: Video, stream: str, root: Path, positions: Positions, *, short_side: int, input_size: int
) -> UInt8[np.ndarray, "time channels height width"]:
    """Load a clip as networks are judged on it: its centre square of `input_size` px."""
    clip = load_clip(video, stream, root, positions, short_side)
    return np.ascontiguousarray(transforms.centre_crop(clip, input_size))


def load_test_chunks(
    video: Video,
    stream: str,
    root: Path,
    positions: Int[np.ndarray, " time"],
    size: int,
    *,
    short_side: int,
    input_size: int,
) -> Iterator[UInt8[np.ndarray, "_chunk channels height width"]]:
    """Yield `load_test_clip` of ascending positions, at most `size` at a time, in one pass."""
    if stream == "rgb":
        for frames in read_chunks(root / video.path, positions, size):
            clip = transforms.resize_short_side(frames.transpose(0, 3, 1, 2), short_side)
            yield np.ascontiguousarray(transforms.centre_crop(clip, input_size))
        return
    for start in range(0, len(positions), size):  # stored flow is read in place
        yield load_test_clip(
            video,
            stream,
            root,
            positions[start : start + size],
            short_side=short_side,
            input_size=input_size,
        )


class TrainClips(Dataset[Item]):
    """Clips at random positions, cropped and flipped at random.

    What is drawn depends on (seed, epoch, video) alone, so a resumed run sees the same clips
    whatever the order, the workers or the batch size. Loader processes copy the dataset when
    they start: they follow `set_epoch` unless they are persistent.
    """

    def __init__(
        self,
        videos: Sequence[Video],
        class_names: Sequence[str],
        *,
        stream: str,
        root: Path,
        num_segments: int,
        input_size: int,
        short_side: int,
        scales: Sequence[float],
        horizontal_flip: bool,
        seed: int,
    ) -> None:
        self._videos = videos
        self._labels = _label_indices(videos, class_names)
        self._stream = stream
        self._root = root
        self._num_segments = num_segments
        self._input_size = input_size
        self._short_side = short_side
        self._scales = scales
        self._horizontal_flip = horizontal_flip
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Draw other clips from here on."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, index: int) -> Item:
        video = self._videos[index]
        drawn_from = digest_value([self._seed, self._epoch, video.video_id], length=32)
        rng = np.random.default_rng(int(drawn_from, 16))
        num_frames, span = stored_frames(video, self._stream)
        positions = train_positions(num_frames, self._num_segments, span, rng)
        clip = load_clip(video, self._stream, self._root, positions, self._short_side)
        height, width = clip.shape[2:]
        box = transforms.draw_box(height, width, self._scales, rng)
        clip = transforms.resize(transforms.crop(clip, box), self._input_size, self._input_size)
        if self._horizontal_flip and rng.random() < 0.5:
            clip = transforms.flip(clip, is_flow=self._stream == "flow")
        return {"frames": torch.from_numpy(clip), "label": self._labels[index], "index": index}


def _label_indices(videos: Sequence[Video], class_names: Sequence[str]) -> list[int]:
    """Return each video's class index; raise DataError for a label that is no class."""
    places = {name: place for place, name in enumerate(class_names)}
    if unknown := sorted({video.label for video in videos} - places.keys()):
        raise DataError(f"labels {unknown} are not among the classes {list(class_names)}")
    return [places[video.label] for video in videos]
