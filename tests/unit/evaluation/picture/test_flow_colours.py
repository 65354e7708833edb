import numpy as np
import pytest

from stpa.evaluation.picture.flow_colours import LEAST_FULL_SPEED_PX, ColouredFlow, colour_flow

SIDE = 65
MIDDLE = SIDE // 2


def coloured(x: float, y: float) -> ColouredFlow:
    """Colour a field whose left half moves by (x, y) px and whose right half rests."""
    flow = np.zeros((1, 2, SIDE, SIDE), np.float32)
    flow[0, :, :, :MIDDLE] = np.array([x, y])[:, None, None]
    return colour_flow(flow)


@pytest.mark.parametrize(
    ("x", "y", "on_wheel"),
    [
        (5, 0, (MIDDLE, SIDE - 1)),
        (-5, 0, (MIDDLE, 0)),
        (0, 5, (SIDE - 1, MIDDLE)),  # y points down, as pixels are counted
        (0, -5, (0, MIDDLE)),
        (2.5, 0, (MIDDLE, MIDDLE + MIDDLE // 2)),
    ],
)
def test_the_wheel_has_each_motion_at_the_end_of_its_arrow(
    x: float, y: float, on_wheel: tuple[int, int]
) -> None:
    found = coloured(x, y)
    if x == 2.5:  # half as fast as something else
        flow = np.zeros((1, 2, SIDE, SIDE), np.float32)
        flow[0, 0, :, :MIDDLE], flow[0, 0, :, MIDDLE:] = 2.5, 5
        found = colour_flow(flow)
    difference = found.pictures[0, 0, 0].astype(int) - found.wheel[on_wheel]
    assert np.abs(difference).max() <= 4
    assert found.full_speed_px == pytest.approx(5)


def test_rest_is_white_and_so_is_what_is_around_the_wheel() -> None:
    found = coloured(5, 0)
    assert (found.pictures[0, :, MIDDLE:] >= 254).all()
    assert (found.wheel[0, 0] >= 254).all()


def test_a_few_fast_positions_do_not_fade_the_others() -> None:
    flow = np.zeros((1, 2, SIDE, SIDE), np.float32)
    flow[0, 0] = 2
    flow[0, 0, 0, :5] = 20
    found = colour_flow(flow)
    assert found.full_speed_px == pytest.approx(2)
    np.testing.assert_array_equal(found.pictures[0, 0, 0], found.pictures[0, MIDDLE, MIDDLE])


def test_the_steps_of_stored_flow_stay_pale_where_nothing_moves() -> None:
    found = coloured(20 / 255, -20 / 255)
    assert found.full_speed_px == LEAST_FULL_SPEED_PX
    assert found.pictures.min() > 200
