"""A worker counts on no memory that another one may need."""

import pytest

from stpa.compute.memory_share import memory_share
from stpa.config import ComputeConfig
from tests.workspaces import small_params


@pytest.mark.parametrize(
    ("changes", "num_cpus", "num_trainings", "expected"),
    [
        ({}, 16.0, 2, 1 / 2),
        ({"workers_per_stream": 3}, 16.0, 2, 1 / 6),
        ({"workers_per_stream": 3}, 4.0, 2, 1 / 4),  # the others are on other hosts
        ({"cpus_per_worker": 2.0}, 2.0, 8, 1.0),
        ({"cpus_per_worker": 2.0}, 1.0, 8, 1.0),
        ({"gpus_per_worker": 1.0}, 16.0, 2, 1.0),
        ({"gpus_per_worker": 0.25}, 16.0, 2, 0.25),
    ],
)
def test_workers_share_what_is_free(changes, num_cpus, num_trainings, expected):
    plain = {"cpus_per_worker": 1.0, "gpus_per_worker": 0.0, "workers_per_stream": 1}
    compute = ComputeConfig(**small_params(compute=plain | changes)["compute"])
    assert memory_share(compute, num_cpus, num_trainings) == expected
