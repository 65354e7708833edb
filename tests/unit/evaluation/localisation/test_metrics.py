"""All metrics of a map together: what they are called, and on which frames they are taken."""

import numpy as np
import pytest

from stpa.evaluation.localisation.metrics import KINDS, measure_map

SIDE = 32


def test_every_metric_has_a_title() -> None:
    maps, inside = np.ones((2, 4, 4)), np.array([True, False])
    found = measure_map(maps, inside, np.array([[0.0, 0, 8, 8]] * 2), SIDE)
    assert found.keys() == KINDS["space"].keys() | KINDS["time"].keys()


def test_space_is_measured_within_the_action_alone() -> None:
    maps = np.zeros((3, 4, 4))
    maps[0, 0, 0], maps[1, 3, 3], maps[2, 3, 3] = 1, 5, 5
    boxes = np.array([[0.0, 0, 8, 8]] * 3)  # other frames' boxes are of no action
    found = measure_map(maps, np.array([True, False, False]), boxes, SIDE)
    assert found["energy_in_box"] == found["pointing"] == 1
    assert found["temporal_energy"] == pytest.approx(1 / 11)


def test_an_action_at_none_of_the_frames_leaves_all_undefined() -> None:
    found = measure_map(np.ones((3, 4, 4)), np.zeros(3, bool), np.full((3, 4), np.nan), SIDE)
    assert np.isnan(list(found.values())).all()


def test_an_action_at_all_frames_is_still_somewhere() -> None:
    boxes = np.array([[0.0, 0, 16, 32]] * 3)
    found = measure_map(np.ones((3, 4, 4)), np.ones(3, bool), boxes, SIDE)
    assert found["energy_in_box"] == pytest.approx(0.5)
    assert all(np.isnan(found[name]) for name in KINDS["time"])
