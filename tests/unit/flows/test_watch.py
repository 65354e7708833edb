"""What Prefect's faults do to the work, and which of its own faults are worth another try."""

import asyncio

import pytest
from prefect.states import exception_to_failed_state

from stpa.errors import (
    ClusterUnavailableError,
    ConfigError,
    DataError,
    RegistryError,
    RegistryUnavailableError,
    RemoteError,
    VersioningError,
)
from stpa.flows import watch
from stpa.flows.watch import RETRIES, watched


@pytest.mark.parametrize(
    ("fault", "again"),
    [
        (RemoteError("S3 does not answer"), True),
        (RegistryUnavailableError("MLflow restarts"), True),
        (ClusterUnavailableError("Ray restarts"), True),
        (VersioningError("half of it is gone"), False),
        (RegistryError("no such run"), False),
        (DataError("no videos"), False),
        (ConfigError("misspelt"), False),
        (TypeError("a fault in this project"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_what_time_may_mend_is_tried_again(fault, again):
    async def asked() -> bool:
        state = await exception_to_failed_state(fault)
        return await RETRIES["retry_condition_fn"](None, None, state)

    assert asyncio.run(asked()) is again


class TestProgressArtifact:
    @pytest.fixture(autouse=True)
    def _no_pause(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(watch, "SECONDS_BETWEEN_UPDATES", 0.0)

    @pytest.mark.parametrize("call", ["create_progress_artifact", "update_progress_artifact"])
    def test_a_fault_of_prefect_is_told_once_and_the_work_goes_on(self, call, monkeypatch, caplog):
        def fail(*_args: object, **_kwargs: object) -> None:
            raise RuntimeError("the server\nis gone")

        monkeypatch.setattr(watch, "create_progress_artifact", lambda *_args, **_kwargs: "id")
        monkeypatch.setattr(watch, call, fail)
        with watched("train rgb") as progress:
            for done in range(3):
                progress(done, 3)
        [record] = [record for record in caplog.records if record.name == watch.__name__]
        assert record.getMessage() == "Prefect shows no more of train rgb: the server is gone"

    def test_it_is_made_once_and_drawn_to_the_end(self, monkeypatch):
        shown: list[tuple[object, ...]] = []

        def create(percent: float, key: str, description: str) -> str:
            shown.append((key, description, percent))
            return "id"

        monkeypatch.setattr(watch, "create_progress_artifact", create)
        monkeypatch.setattr(watch, "update_progress_artifact", lambda *args: shown.append(args))
        with watched("train RGB stpa", "2 of 4") as progress:
            progress(1, 4, {"epoch": "1/2", "loss": "0.9"})
        assert shown == [
            ("train-rgb-stpa", "train RGB stpa", 0.0),
            ("id", 25.0, "train RGB stpa: epoch 1/2, loss 0.9"),
            ("id", 100.0, "train RGB stpa"),
        ]
