"""Clips that are decoded when they are asked for, and cropped."""

from dataclasses import astuple, dataclass

import numpy as np
import torch

from stpa.data import transforms
from stpa.data.clips import ClipReader, View, stored_frames
from stpa.data.manifest import Video
from stpa.data.sampling import test_positions, train_positions
from stpa.shapes import UInt8


@dataclass(frozen=True)
class CropSource:
    """Crops the clips of a reader: at random for training, in the middle for evaluation."""

    reader: ClipReader
    input_size: int
    """Side of the square that a crop is resized to, px."""
    scales: tuple[float, ...]
    """Crop sides as shares of the short side, to draw from."""
    horizontal_flip: bool
    """Whether half of the crops are mirrored."""
    crop_later: bool = False
    """Leave the random crop to `batch_transforms.crop_clips`: views hold whole frames."""

    def draw(self, video: Video, num_segments: int, rng: np.random.Generator) -> View:
        """Return a random crop at random positions, all frames alike; as in `ClipSource`."""
        num_frames, span = stored_frames(video, self.reader.stream)
        clip = self.reader.read(video, train_positions(num_frames, num_segments, span, rng))
        box, mirrored = self.draw_crop(clip, rng)
        if self.crop_later:
            return {
                "frames": torch.from_numpy(clip),
                "box": torch.tensor(astuple(box)),
                "mirrored": mirrored,
            }
        return {"frames": torch.from_numpy(self.crop(clip, box, mirrored))}

    def fixed(self, video: Video, num_segments: int) -> View:
        """Return the middle at the test positions; as in `ClipSource`."""
        num_frames, span = stored_frames(video, self.reader.stream)
        clip = self.reader.read(video, test_positions(num_frames, num_segments, span))
        frames = np.ascontiguousarray(transforms.centre_crop(clip, self.input_size))
        return {"frames": torch.from_numpy(frames)}

    def draw_crop(
        self, clip: transforms.Clip, rng: np.random.Generator
    ) -> tuple[transforms.Box, bool]:
        """Draw where to crop a clip, and whether to mirror it."""
        height, width = clip.shape[2:]
        box = transforms.draw_box(height, width, self.scales, rng)
        return box, bool(self.horizontal_flip and rng.random() < 0.5)

    def crop(
        self, clip: transforms.Clip, box: transforms.Box, mirrored: bool
    ) -> UInt8[np.ndarray, "time channels height width"]:
        """Return a crop as the network takes it."""
        clip = transforms.resize(transforms.crop(clip, box), self.input_size, self.input_size)
        return transforms.flip(clip, self.reader.stream) if mirrored else clip
