import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stpa.data.decode import read_flow_stacks
from stpa.optical_flow.codec import dequantise, quantise, read_provenance, write_flow_video
from tests.twin import tsn_twin

BOUND_PX = 20.0
LEVEL_PX = 2 * BOUND_PX / 255


def smooth_levels(num_frames: int, width: int, height: int) -> np.ndarray:
    t, y, x = np.meshgrid(range(num_frames), range(height), range(width), indexing="ij")
    motion_x = 12 * np.sin(x / 25 + t / 4)
    motion_y = 8 * np.cos(y / 20 - t / 3)
    return quantise(np.stack([motion_x, motion_y], axis=1), BOUND_PX)


def store(path, levels, provenance=None):
    _, _, height, width = levels.shape
    write_flow_video(path, levels, width=width, height=height, provenance=provenance or {})
    return path


def read_all(path, num_frames):
    return read_flow_stacks(path, range(num_frames), 1)


@pytest.mark.parametrize(
    ("displacement", "level"), [(-20, 0), (20, 255), (-99, 0), (99, 255), (0, 128), (10, 191)]
)
def test_quantise_maps_the_bound_onto_0_to_255_and_clips(displacement, level):
    assert quantise(np.array([displacement], np.float32), BOUND_PX) == level


@settings(max_examples=1000)
@given(arrays(np.float64, (3, 4), elements=st.floats(-30, 30)))
def test_quantise_is_tsn_s_formula(flow):
    expected = [[tsn_twin.quantised_flow(value) for value in row] for row in flow.tolist()]
    near_tie = np.abs(255 * (flow + 20) / 40 % 1 - 0.5) < 1e-9
    differs = quantise(flow, BOUND_PX) != expected
    assert not np.any(differs & ~near_tie)


@given(arrays(np.float32, (3, 4), elements=st.floats(-20, 20, width=32)))
def test_dequantise_is_within_half_a_level(flow):
    back = dequantise(quantise(flow, BOUND_PX), BOUND_PX)
    assert np.abs(back - flow).max() <= LEVEL_PX / 2 + 1e-4


def test_smooth_flow_comes_back_within_two_levels_on_average_within_half(tmp_path):
    levels = smooth_levels(8, width=112, height=80)
    back = read_all(store(tmp_path / "flow.avi", levels), 8)
    error = np.abs(back.astype(int) - levels)
    assert error.max() <= 2
    assert error.mean() < 0.5


@pytest.mark.parametrize("size", [(96, 96), (340, 256), (97, 95), (33, 31)])
def test_x_is_stored_above_y_at_full_range_for_any_size(tmp_path, size):
    width, height = size
    levels = np.empty((4, 2, height, width), np.uint8)
    levels[:, 0], levels[:, 1] = 0, 255
    path = store(tmp_path / "flow.avi", levels)
    np.testing.assert_allclose(read_all(path, 4).astype(int), levels, atol=1)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert (frame.width, frame.height) == (width, 2 * height)
        luma = np.frombuffer(memoryview(frame.planes[0]), np.uint8)
        luma = luma.reshape(2 * height, -1)[:, :width]
    assert luma[: height - 8].max() == 0
    assert luma[height + 8 :].min() == 255


def test_every_frame_is_a_key_frame(tmp_path):
    path = store(tmp_path / "flow.avi", smooth_levels(5, 64, 48))
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert [packet.is_keyframe for packet in packets] == [True] * 5


def test_the_same_flow_gives_the_same_bytes(tmp_path):
    levels = smooth_levels(3, 64, 48)
    once, again = (store(tmp_path / name, levels, {"a": 1}) for name in ("1.avi", "2.avi"))
    assert once.read_bytes() == again.read_bytes()


def test_provenance_comes_back_from_the_file(tmp_path):
    provenance = {"estimator": "dis", "bound_px": 20.0, "source": 'ü "quoted" \\ 名'}
    path = store(tmp_path / "flow.avi", smooth_levels(2, 32, 32), provenance)
    assert read_provenance(path) == provenance


@pytest.mark.parametrize("content", [None, b"", b"not a video", b"RIFF\x00\x00\x00\x00AVI LIST"])
def test_an_absent_or_broken_file_has_no_provenance(tmp_path, content):
    path = tmp_path / "flow.avi"
    if content is not None:
        path.write_bytes(content)
    assert read_provenance(path) is None


def test_a_failure_half_way_leaves_nothing_behind(tmp_path):
    def failing():
        yield from smooth_levels(2, 32, 32)
        raise RuntimeError("estimator failed")

    with pytest.raises(RuntimeError, match="estimator failed"):
        write_flow_video(tmp_path / "flow.avi", failing(), width=32, height=32, provenance={})
    assert list(tmp_path.iterdir()) == []
