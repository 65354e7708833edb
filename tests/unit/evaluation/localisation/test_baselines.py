import numpy as np
import pytest

from stpa.evaluation.localisation.baselines import (
    CENTRE_DEVIATION,
    centre_maps,
    flow_maps,
    random_maps,
    uniform_maps,
)

SHAPE = (3, 4, 5)


def test_even_maps_are_even_and_random_ones_are_not() -> None:
    assert np.ptp(uniform_maps(SHAPE)) == 0
    drawn = random_maps(SHAPE, np.random.default_rng(0))
    assert len(np.unique(drawn)) == drawn.size
    assert uniform_maps(SHAPE).shape == drawn.shape == SHAPE


def test_the_centre_is_highest_and_falls_alike_on_all_sides_of_every_frame() -> None:
    maps = centre_maps((2, 5, 5))
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_allclose(maps, maps[:, ::-1])
    np.testing.assert_allclose(maps, maps.transpose(0, 2, 1))
    assert maps[0, 2, 2] == maps.max() == 1
    # A cell beside the middle one is a fifth of the side away.
    assert maps[0, 2, 3] == pytest.approx(np.exp(-(0.2**2) / (2 * CENTRE_DEVIATION**2)))


def test_flow_maps_have_the_mean_length_of_motion_in_each_cell() -> None:
    flow = np.zeros((2, 2, 8, 8), np.float32)
    flow[1, 0, :4, :4], flow[1, 1, :4, :4] = 3, -4
    flow[1, 0, 4, 7] = 16
    maps = flow_maps(flow, 2, 2)
    np.testing.assert_allclose(maps, [[[0, 0], [0, 0]], [[5, 0], [0, 1]]])
