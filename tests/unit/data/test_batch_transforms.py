import numpy as np
import pytest
import torch

from stpa.data import transforms
from stpa.data.batch_transforms import crop_clips
from stpa.data.transforms import Box
from stpa.streams import FLOW, RGB, Stream

SIZE = 32


def smooth_clip(seed: int, channels: int, height: int = 60, width: int = 80) -> np.ndarray:
    """Draw waves of long wavelength, as video has them."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width] / 60
    waves = [
        np.sin(2 * np.pi * (rng.uniform(0, 2) * rows + rng.uniform(0, 2) * columns + phase))
        for phase in rng.uniform(size=2 * channels)
    ]
    return (
        np.round(127.5 + 127 * np.stack(waves)).astype(np.uint8).reshape(2, channels, height, width)
    )


def crop_one(clip: np.ndarray, box: Box, mirrored: bool, stream: Stream) -> np.ndarray:
    cut = transforms.resize(transforms.crop(clip, box), SIZE, SIZE)
    return transforms.flip(cut, stream) if mirrored else cut


def crop_batch(
    clips: list[np.ndarray], boxes: list[Box], mirrored: list[bool], stream: Stream
) -> torch.Tensor:
    return crop_clips(
        torch.from_numpy(np.stack(clips)),
        torch.tensor([[box.top, box.left, box.height, box.width] for box in boxes]),
        torch.tensor(mirrored),
        SIZE,
        stream=stream,
    )


@pytest.mark.parametrize("stream", [RGB, FLOW])
def test_crops_of_the_networks_size_are_exactly_those_of_one_clip(stream):
    clips = [smooth_clip(seed, channels=stream.channels) for seed in range(4)]
    boxes = [Box(0, 0, 32, 32), Box(28, 48, 32, 32), Box(5, 7, 32, 32), Box(28, 0, 32, 32)]
    mirrored = [True, False, True, False]
    found = crop_batch(clips, boxes, mirrored, stream)
    for index, each in enumerate(zip(clips, boxes, mirrored, strict=True)):
        np.testing.assert_array_equal(found[index], crop_one(*each, stream))


@pytest.mark.parametrize("stream", [RGB, FLOW])
def test_resized_crops_are_those_of_one_clip_to_a_few_levels(stream):
    rng = np.random.default_rng(0)
    clips = [smooth_clip(seed, channels=stream.channels) for seed in range(16)]
    boxes = [transforms.draw_box(60, 80, [1.0, 0.875, 0.75, 0.5, 0.4], rng) for _ in clips]
    mirrored = rng.random(len(clips)) < 0.5
    found = crop_batch(clips, boxes, mirrored.tolist(), stream)
    for index, each in enumerate(zip(clips, boxes, mirrored, strict=True)):
        difference = np.abs(found[index].numpy().astype(int) - crop_one(*each, stream))
        assert difference.mean() < 1
        assert difference.max() <= 8
