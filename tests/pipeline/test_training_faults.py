"""Which faults of a training's workers `stpa.compute.train` tries again, on a real Ray cluster."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stpa.compute.tasks import cluster
from stpa.compute.train import fit_on_cluster
from stpa.config import ComputeConfig
from stpa.errors import DataError
from stpa.streams import RGB
from stpa.training.job import TrainingJob
from tests.workspaces import small_params

# Of Ray's own code, when it first makes a ray.data context.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")


@pytest.fixture(scope="module", autouse=True)
def _local_cluster() -> Iterator[None]:
    with cluster(None):
        yield


class FaultyJob(TrainingJob):
    """Whoever fits it comes to grief, each time in another way, and leaves a line."""

    def __init__(self, attempts: Path, faults: list[Callable[[], None]]) -> None:
        vars(self).update(stream=RGB, head="stpa", attempts=attempts, faults=faults)

    @property
    def train(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        attempts, faults = vars(self)["attempts"], vars(self)["faults"]
        with attempts.open("a") as lines:
            lines.write("tried\n")
        faults[attempts.read_text().count("tried") - 1]()


def refuse() -> None:
    raise DataError("video 3 does not decode")


def die() -> None:
    time.sleep(3)  # Ray retries no worker that dies while others of its group come up
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("faults", "num_attempts"),
    [
        pytest.param([refuse], 1, id="its own error ends it at once"),
        pytest.param([die, refuse], 2, id="a lost worker is replaced"),
    ],
)
def test_only_what_a_restart_may_mend_is_tried_again(tmp_path, faults, num_attempts):
    job = FaultyJob(tmp_path / "attempts", faults)
    with pytest.raises(DataError, match=r"^video 3 does not decode$"):
        fit_on_cluster(
            job,
            storage=str(tmp_path / "checkpoints"),
            compute=ComputeConfig(**small_params()["compute"]),
            decode_seconds=60.0,
            on_epoch=lambda metrics: None,
        )
    assert (tmp_path / "attempts").read_text().count("tried") == num_attempts
