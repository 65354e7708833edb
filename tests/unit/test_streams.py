"""Streams: what each reads of a real video, how it is mirrored, and how a network takes it."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from stpa.data import sampling
from stpa.data.clips import ClipReader, stored_frames
from stpa.data.decode import read_frames
from stpa.data.storage import Folder
from stpa.data.transforms import flip
from stpa.models.network import ActionNetwork
from stpa.streams import FLOW, RGB, RGB_DIFFERENCE, STREAMS, Stream
from tests.unit.models.test_network import SPEC
from tests.workspaces import make_video, write_video_and_flow

NUM_FRAMES = 14
VIDEO = make_video(num_frames=NUM_FRAMES)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    write_video_and_flow(root, num_frames=NUM_FRAMES)
    return root


def read(root: Path, stream: Stream, positions: list[int]) -> np.ndarray:
    storage = Folder(root / "flow" if stream.reads_optical_flow else root)
    return ClipReader(stream, storage, short_side=64).read(VIDEO, np.array(positions))


@pytest.mark.parametrize("stream", STREAMS.values(), ids=str)
def test_every_stream_reads_what_it_says(root: Path, stream: Stream) -> None:
    num_frames, span = stored_frames(VIDEO, stream)
    positions = sampling.test_positions(num_frames, 4, span)
    clip = read(root, stream, positions.tolist())
    assert clip.shape == (4, stream.channels, 64, 64)
    assert clip.dtype == np.uint8
    assert clip.flags.c_contiguous
    storage = Folder(root / "flow" if stream.reads_optical_flow else root)
    chunks = ClipReader(stream, storage, short_side=64).read_chunks(VIDEO, positions, 3)
    np.testing.assert_array_equal(np.concatenate(list(chunks)), clip)


def test_rgb_difference_is_half_the_change_from_frame_to_frame_about_the_middle(root: Path) -> None:
    frames = read_frames(root / "a.avi", np.arange(NUM_FRAMES), num_frames=NUM_FRAMES)
    [clip] = read(root, RGB_DIFFERENCE, [3])
    for step, (before, after) in enumerate(pairwise(frames[3:9].astype(int))):
        expected = (after - before) / 2 + 128  # [height, width, colours]
        found = clip[3 * step : 3 * step + 3].transpose(1, 2, 0)
        assert np.abs(found - expected).max() <= 0.5
    assert clip.std() > 5  # the texture moves


def test_a_video_in_which_nothing_changes_is_at_rest_everywhere() -> None:
    still = np.full((2, 6, 3, 4, 5), 200, np.uint8)
    assert (RGB_DIFFERENCE.stack(still) == RGB_DIFFERENCE.rest_level).all()


def test_the_largest_changes_stay_in_range() -> None:
    blink = np.zeros((1, 6, 3, 2, 2), np.uint8)
    blink[:, 1::2] = 255
    levels = RGB_DIFFERENCE.stack(blink)[0, ::3, 0, 0]
    assert levels.tolist() == [255, 0, 255, 0, 255]


def test_a_video_shorter_than_a_span_repeats_its_last_frame(root: Path) -> None:
    short = make_video(num_frames=3)
    reader = ClipReader(RGB_DIFFERENCE, Folder(root), short_side=64)
    [clip] = reader.read(short, np.array([0]))
    assert (clip[6:] == 128).all()  # from the third frame on, nothing changes
    assert (clip[:6] != 128).any()


@pytest.mark.parametrize(
    ("stream", "middle"), [(RGB, [0, 9]), (FLOW, [2, 11]), (RGB_DIFFERENCE, [3, 12])]
)
def test_a_position_stands_for_the_frame_in_the_middle_of_its_span(
    stream: Stream, middle: list[int]
) -> None:
    positions = np.array([0, 9])
    assert stream.middle_frames(positions, NUM_FRAMES).tolist() == middle
    assert stream.middle_frames(positions, 10).max() == 9


def test_a_mirror_changes_the_sign_of_motion_to_the_right_alone() -> None:
    rng = np.random.default_rng(0)
    for stream in STREAMS.values():
        clip = rng.integers(0, 256, (2, stream.channels, 4, 6), np.uint8)
        mirrored = flip(clip, stream)
        for channel in range(stream.channels):
            plain = clip[:, channel, :, ::-1]
            is_x = stream is FLOW and channel % 2 == 0
            np.testing.assert_array_equal(mirrored[:, channel], 255 - plain if is_x else plain)


def test_changes_of_a_kind_look_to_an_rgb_kernel_as_frames_do() -> None:
    """The same change at each step gives what one frame of these levels would."""
    torch.manual_seed(0)
    rgb = ActionNetwork(SPEC)
    torch.manual_seed(0)
    difference = ActionNetwork(replace(SPEC, stream=RGB_DIFFERENCE))
    frame = torch.randn(2, 3, 64, 64)
    stem, adapted = rgb.backbone.stem[0], difference.backbone.stem[0]
    assert adapted.in_channels == RGB_DIFFERENCE.channels
    torch.testing.assert_close(adapted(frame.repeat(1, 5, 1, 1)), stem(frame))
