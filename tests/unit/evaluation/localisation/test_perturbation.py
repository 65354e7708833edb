"""Deletion and insertion, of a network whose probability is the mean level of one cell."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stpa.evaluation.localisation.perturbation import NUM_STEPS, blur, perturb
from stpa.streams import FLOW, RGB

TIME, SIDE = 2, 32
SHAPE = (TIME, 4, 8)
DECISIVE = (1, 2, 5)  # frame, row, column


def noise(channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (TIME, channels, SIDE, SIDE)).astype(np.uint8)


def see(clip: np.ndarray) -> float:
    """Return 1 where the decisive cell is as it was."""
    (frame, row, column), (_, num_rows, num_columns) = DECISIVE, SHAPE
    height, width = SIDE // num_rows, SIDE // num_columns
    rows = slice(row * height, (row + 1) * height)
    columns = slice(column * width, (column + 1) * width)
    same = clip[frame, :, rows, columns] == noise()[frame, :, rows, columns]
    return float(same.all())


def run(maps: np.ndarray, seed: int = 0, probability=see):
    rng = np.random.default_rng(seed)
    return perturb(noise(), maps, probability, stream=RGB, rng=rng)


def ramp(decisive: float) -> np.ndarray:
    """Return distinct weights between 0 and 1, but for that of the decisive cell."""
    maps = np.random.default_rng(1).random(SHAPE)
    maps[DECISIVE] = decisive
    return maps


def test_the_decisive_cell_first_is_what_deletion_and_insertion_reward() -> None:
    # It goes with the first tenth: the curve falls from 1 to 0 between 0 and 6 of 64 cells.
    first = run(ramp(decisive=2))
    assert first.deletion == pytest.approx(6 / 64 / 2)
    assert first.insertion == pytest.approx(1 - 6 / 64 / 2)
    last = run(ramp(decisive=-1))
    assert last.deletion == pytest.approx(1 - 6 / 64 / 2)
    assert last.insertion == pytest.approx(6 / 64 / 2)


@settings(max_examples=30)
@given(st.integers(0, 99))
def test_inserting_is_deleting_in_the_opposite_order(seed: int) -> None:
    maps = np.random.default_rng(seed).random(SHAPE)
    there, back = run(maps), run(-maps)
    assert there.insertion == pytest.approx(back.deletion)
    assert there.deletion == pytest.approx(back.insertion)


def test_a_probability_that_never_changes_is_the_area() -> None:
    assert run(ramp(0.5), probability=lambda clip: 0.25) == pytest.approx((0.25, 0.25))


def test_the_cells_of_all_frames_are_in_one_order() -> None:
    maps = np.stack([np.full(SHAPE[1:], 2.0), np.ones(SHAPE[1:])])
    clip, changed = noise(), []

    def record(seen: np.ndarray) -> float:
        changed.append([float((a != b).mean()) for a, b in zip(seen, clip, strict=True)])
        return 0.0

    run(maps, probability=record)
    deleted = changed[:NUM_STEPS]
    assert deleted[0] == [0, 0]
    assert deleted[5][0] > 0.9  # half of all cells are those of the first frame
    assert deleted[5][1] == 0
    assert deleted[-1][1] > 0.9


def test_cells_of_equal_weight_come_in_a_random_order() -> None:
    found = {run(np.ones(SHAPE), seed).deletion for seed in range(20)}
    assert len(found) > 5
    assert np.mean(list(found)) == pytest.approx(0.5, abs=0.25)


def test_equal_generators_give_equal_orders() -> None:
    maps = np.ones(SHAPE)
    assert run(maps, seed=3) == run(maps, seed=3)


def test_frames_are_blurred_and_flow_stands_still() -> None:
    clip = np.zeros((1, 3, SIDE, SIDE), np.uint8)
    clip[:, 1, :, SIDE // 2 :] = 255
    blurred = blur(clip, stream=RGB)
    assert (blurred[:, [0, 2]] == 0).all()  # planes do not mix
    # A step under a Gaussian of SIDE / 12 = 2.7 px is at its mean and one deviation there.
    assert blurred[0, 1, 16, [15, 16]].mean() == pytest.approx(127.5, abs=2)
    deviation = SIDE / 12
    at = 15.5 + deviation
    assert np.interp(at, range(SIDE), blurred[0, 1, 16]) == pytest.approx(0.841 * 255, abs=3)
    assert (blur(noise(10), stream=FLOW) == 128).all()


def test_a_map_with_fewer_cells_than_steps_is_enough() -> None:
    maps = np.array([1.0, 2.0]).reshape(2, 1, 1)
    found = perturb(noise(), maps, see, stream=RGB, rng=np.random.default_rng(0))
    assert found.deletion == pytest.approx(0.25)  # 1, 0, 0 at 0, 1/2 and 1
    assert found.insertion == pytest.approx(0.75)
