import cv2
import numpy as np
import pytest
import torch
from torchvision.models.optical_flow import raft_large
from torchvision.transforms._presets import OpticalFlow

from stpa.errors import ModelError
from stpa.optical_flow import ESTIMATORS, Estimator

HEIGHT, WIDTH = 64, 96
EXACT = [name for name in ESTIMATORS if name != "raft"]
"""What needs no weights."""


def textured_image(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(0, 255, (HEIGHT, WIDTH)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    image = 255 * (smooth - smooth.min()) / np.ptp(smooth)
    return np.stack([image.astype(np.uint8)] * 3, axis=-1)


@pytest.fixture(scope="module")
def raft_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """RAFT that has learnt nothing: its published weights are not at hand."""
    path = tmp_path_factory.mktemp("weights") / "raft.pth"
    torch.manual_seed(0)
    torch.save(raft_large().state_dict(), path)
    return str(path)


@pytest.fixture(scope="module")
def raft(raft_weights: str) -> Estimator:
    return ESTIMATORS["raft"].make(weights=raft_weights)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (-2, 0), (0, 2), (0, -3), (2, -1)])
def test_flow_of_a_shifted_image_is_the_shift_in_direction_and_size(name, dx, dy):
    frames = np.stack([np.roll(textured_image(), (i * dy, i * dx), axis=(0, 1)) for i in range(3)])
    flows = ESTIMATORS[name].make()(frames)
    assert flows.shape == (2, 2, HEIGHT, WIDTH)
    assert flows.dtype == np.float32
    inner = flows[:, :, 16:-16, 16:-16]
    assert np.median(inner[:, 0]) == pytest.approx(dx, abs=0.25)
    assert np.median(inner[:, 1]) == pytest.approx(dy, abs=0.25)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("level", [0, 128, 255])
def test_flow_of_a_blank_image_is_zero(name, level):
    blank = np.full((2, HEIGHT, WIDTH, 3), level, np.uint8)
    np.testing.assert_array_equal(ESTIMATORS[name].make()(blank), 0)


@pytest.mark.parametrize("name", EXACT)
def test_flow_does_not_depend_on_the_pairs_before(name):
    frames = np.stack([textured_image(seed) for seed in range(3)])
    used, fresh = ESTIMATORS[name].make(), ESTIMATORS[name].make()
    used(frames[1:])
    np.testing.assert_array_equal(used(frames[:2]), fresh(frames[:2]))
    np.testing.assert_array_equal(used(frames)[0], fresh(frames[:2])[0])


def test_raft_pads_to_what_it_can_take_and_answers_in_the_frames_size(raft):
    frames = np.stack([textured_image(seed)[:60, :90] for seed in range(3)])
    flows = raft(frames)
    assert flows.shape == (2, 2, 60, 90)
    assert flows.dtype == np.float32
    np.testing.assert_allclose(flows[1], raft(frames[1:])[0], atol=1e-3)


def test_raft_sees_what_torchvision_s_own_transforms_give(raft_weights):
    frames = np.stack([textured_image(seed)[:, :, :] for seed in range(2)])
    frames = np.tile(frames, (1, 2, 2, 1))  # 128 x 192, which needs no padding
    reference = raft_large()
    reference.load_state_dict(torch.load(raft_weights, weights_only=True))
    images = torch.from_numpy(frames).permute(0, 3, 1, 2)
    first, second = OpticalFlow()(images[:1], images[1:])
    with torch.no_grad():
        expected = reference.eval()(first, second)[-1]
    flows = ESTIMATORS["raft"].make(weights=raft_weights)(frames)
    np.testing.assert_allclose(flows, expected.numpy(), atol=1e-3)


def test_raft_refuses_other_weights(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"layer.weight": torch.zeros(2)}, path)
    with pytest.raises(ModelError, match=r"other\.pth is not torchvision's raft_large"):
        ESTIMATORS["raft"].make(weights=str(path))(np.zeros((2, 64, 64, 3), np.uint8))
