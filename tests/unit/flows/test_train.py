"""The order of trainings, on Prefect's own test server."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect import flow
from prefect.testing.utilities import prefect_test_harness

from stpa.data.versioning import DataVersion
from stpa.errors import InterruptedTrainingError, ModelError
from stpa.flows import train
from stpa.params import check_params
from stpa.stages.plan import Network, Plan
from stpa.streams import FLOW, RGB, Stream
from stpa.workspace import Workspace
from tests.workspaces import small_params


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


def make_network(stream: Stream) -> Network:
    return Network(stream, "stpa", "key", Path(), Path(), Path())


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (ModelError("the loss is nan"), ["a training has failed: the loss is nan"]),
        (InterruptedTrainingError("stopped as asked"), []),
    ],
    ids=["a fault", "as asked"],
)
def test_what_ends_one_training_is_told_at_once_and_the_other_ends(
    fault, told, monkeypatch, caplog
):
    said_before_the_end: list[str] = []

    def run(_plan: object, network: Network, _progress: object) -> Network:
        if network.stream == RGB:
            raise fault
        for _ in range(600):
            said_before_the_end[:] = [
                record.getMessage() for record in caplog.records if record.name == train.__name__
            ]
            if said_before_the_end == told:
                break
            time.sleep(0.1)
        return network

    monkeypatch.setattr(train, "run_train", run)
    turns = {make_network(RGB): "1 of 2", make_network(FLOW): "2 of 2"}
    config = check_params(small_params(), Path("params.yaml"))
    plan = Plan(Workspace(Path()), config, DataVersion("v", "m", "f"), tuple(turns))
    together = flow(validate_parameters=False)(train._train_together)
    with pytest.raises(type(fault), match=str(fault)):
        together(plan, turns)
    assert said_before_the_end == told
