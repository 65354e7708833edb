"""The order of trainings, on Prefect's own test server."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect import flow
from prefect.testing.utilities import prefect_test_harness

from stpa.errors import InterruptedTrainingError, ModelError
from stpa.flows import train
from stpa.streams import RGB, Stream


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


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

    def run(_root: Path, _config: object, stream: Stream, _head: str, _progress: object) -> Stream:
        if stream == RGB:
            raise fault
        for _ in range(600):
            said_before_the_end[:] = [
                record.getMessage() for record in caplog.records if record.name == train.__name__
            ]
            if said_before_the_end == told:
                break
            time.sleep(0.1)
        return stream

    monkeypatch.setattr(train, "open_workspace", lambda root: (root, None))
    monkeypatch.setattr(train, "run_train", run)
    together = flow(train._train_together)
    with pytest.raises(type(fault), match=str(fault)):
        together(Path(), "stpa", {"rgb": "1 of 2", "flow": "2 of 2"})
    assert said_before_the_end == told
