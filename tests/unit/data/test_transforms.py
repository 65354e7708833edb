import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stpa.data import transforms
from stpa.streams import FLOW, RGB
from tests.twin import tsn_twin


@pytest.fixture
def clip() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 10, 48, 64), np.uint8)


def boxes(scales: list[float], num_draws: int = 3000) -> set[transforms.Box]:
    rng = np.random.default_rng(0)
    return {transforms.draw_box(256, 340, scales, rng) for _ in range(num_draws)}


def test_a_scale_is_cropped_at_thirteen_places():
    assert len(boxes([0.5])) == 13


def test_crops_reach_all_corners_and_the_centre():
    places = {(box.top, box.left) for box in boxes([0.5])}
    assert {(0, 0), (0, 212), (128, 0), (128, 212), (64, 106)} <= places


@settings(max_examples=50)
@given(st.integers(0, 8), st.integers(1, 8))
def test_crop_places_are_tsn_s_where_the_free_height_and_width_divide_by_four(rows, columns):
    side, height, width = 24, 24 + 4 * rows, 24 + 4 * (rows + columns)
    rng = np.random.default_rng(0)
    drawn = [transforms.draw_box(height, width, [side / height], rng) for _ in range(300)]
    places = {(box.top, box.left) for box in drawn}
    assert {(box.height, box.width) for box in drawn} == {(side, side)}
    assert places == tsn_twin.crop_places(height, width, side, side)


def test_crop_sides_are_neighbouring_scales_of_the_short_side():
    sides = {(box.height, box.width) for box in boxes([1.0, 0.875, 0.75, 0.66])}
    scales = [256, 224, 192, 168]
    expected = {
        (a, b) for i, a in enumerate(scales) for j, b in enumerate(scales) if abs(i - j) < 2
    }
    assert sides == expected


@given(
    st.integers(32, 90),
    st.integers(32, 90),
    st.lists(st.floats(0.5, 1), min_size=1, max_size=4),
    st.integers(0, 99),
)
def test_crops_lie_within_the_frame(height, width, scales, seed):
    box = transforms.draw_box(height, width, scales, np.random.default_rng(seed))
    assert box.top >= 0
    assert box.left >= 0
    assert box.top + box.height <= height
    assert box.left + box.width <= width


def test_a_crop_is_the_same_in_every_frame(clip):
    cut = transforms.crop(clip, transforms.Box(3, 5, 20, 30))
    assert np.array_equal(cut, clip[:, :, 3:23, 5:35])


def test_the_centre_crop_leaves_equal_margins(clip):
    cut = transforms.centre_crop(clip, 40)
    assert np.array_equal(cut, clip[:, :, 4:44, 12:52])


def test_flipping_a_picture_mirrors_it(clip):
    assert np.array_equal(transforms.flip(clip, stream=RGB), clip[..., ::-1])


def test_flipping_flow_negates_its_x_channels_alone(clip):
    flipped = transforms.flip(clip, stream=FLOW)
    assert np.array_equal(flipped[:, 0::2], 255 - clip[:, 0::2, :, ::-1])
    assert np.array_equal(flipped[:, 1::2], clip[:, 1::2, :, ::-1])


@pytest.mark.parametrize("stream", [FLOW, RGB])
def test_flipping_twice_changes_nothing(clip, stream):
    once = transforms.flip(clip, stream)
    assert np.array_equal(transforms.flip(once, stream), clip)


@pytest.mark.parametrize("short_side", [24, 48, 60])
def test_resizing_keeps_the_proportions(clip, short_side):
    long_side = short_side * 4 // 3
    landscape = transforms.resize_short_side(clip, short_side)
    portrait = transforms.resize_short_side(clip.transpose(0, 1, 3, 2), short_side)
    assert landscape.shape == (2, 10, short_side, long_side)
    assert portrait.shape == (2, 10, long_side, short_side)


def test_resizing_keeps_each_plane_apart():
    planes = np.arange(20, dtype=np.uint8).reshape(2, 10, 1, 1)
    resized = transforms.resize(np.tile(planes, (1, 1, 8, 8)), 5, 12)
    assert np.array_equal(resized, np.tile(planes, (1, 1, 5, 12)))


def test_ten_crops_are_those_of_tsn():
    """The four corners and the centre, then their mirror images, x of flow negated."""
    clip = np.random.default_rng(0).integers(0, 256, (2, 10, 9, 12), np.uint8)
    crops = transforms.test_crops(clip, 4, 10, stream=FLOW)
    assert crops.shape == (10, 2, 10, 4, 4)
    for index, (top, left) in enumerate([(2, 4), (0, 0), (0, 8), (5, 0), (5, 8)]):
        cut = clip[:, :, top : top + 4, left : left + 4]
        np.testing.assert_array_equal(crops[index], cut)
        mirrored = cut[..., ::-1].copy()
        mirrored[:, ::2] = 255 - mirrored[:, ::2]
        np.testing.assert_array_equal(crops[5 + index], mirrored)


@pytest.mark.parametrize("num_crops", [1, 5])
def test_fewer_crops_are_the_first_of_ten(num_crops):
    clip = np.random.default_rng(0).integers(0, 256, (2, 3, 9, 12), np.uint8)
    ten = transforms.test_crops(clip, 4, 10, stream=RGB)
    np.testing.assert_array_equal(
        transforms.test_crops(clip, 4, num_crops, stream=RGB), ten[:num_crops]
    )
