import cv2
import numpy as np
import pytest

from stpa.optical_flow import ESTIMATORS

HEIGHT, WIDTH = 64, 96


def textured_image(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(0, 255, (HEIGHT, WIDTH)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)  # pyright: ignore[reportCallIssue, reportArgumentType]


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (-2, 0), (0, 2), (0, -3), (2, -1)])
def test_flow_of_a_shifted_image_is_the_shift_in_direction_and_size(name, dx, dy):
    first = textured_image()
    second = np.roll(first, (dy, dx), axis=(0, 1))
    flow = ESTIMATORS[name]()(first, second)
    assert flow.shape == (2, HEIGHT, WIDTH)
    assert flow.dtype == np.float32
    inner = flow[:, 16:-16, 16:-16]
    assert np.median(inner[0]) == pytest.approx(dx, abs=0.25)
    assert np.median(inner[1]) == pytest.approx(dy, abs=0.25)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("level", [0, 128, 255])
def test_flow_of_a_blank_image_is_zero(name, level):
    blank = np.full((HEIGHT, WIDTH), level, np.uint8)
    np.testing.assert_array_equal(ESTIMATORS[name]()(blank, blank), 0)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_flow_does_not_depend_on_the_pairs_before(name):
    images = [textured_image(seed) for seed in range(3)]
    used, fresh = ESTIMATORS[name](), ESTIMATORS[name]()
    used(images[1], images[2])
    np.testing.assert_array_equal(used(images[0], images[1]), fresh(images[0], images[1]))
