import json
import socket
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from stpa.data.versioning import DataVersion
from stpa.errors import RegistryError, RegistryUnavailableError
from stpa.registry.tracking import Dataset, Tracker, connection, default_uri
from stpa.workspace import Workspace

SERVING = {"num_segments": 3}


def test_an_interrupted_run_of_the_same_key_is_reopened_not_duplicated(tracker: Tracker):
    first = tracker.open_run("k1", "rgb", {"train": {"epochs": 3}}, {"stream": "rgb"})
    tracker.close_run(first, failed=True)
    assert tracker.open_run("k1", "rgb", {"train": {"epochs": 3}}, {"stream": "rgb"}) == first
    assert tracker.client.get_run(first).info.status == "RUNNING"
    tracker.close_run(first)
    assert tracker.open_run("k1", "rgb", {}, {"stream": "another"}) == first
    finished = tracker.client.get_run(first)
    assert (finished.info.status, finished.data.tags["stream"]) == ("FINISHED", "rgb")
    assert tracker.find_run("k1") == first
    assert tracker.find_run("other") is None


def test_a_run_below_another_says_so_and_takes_more_tags(tracker: Tracker):
    above = tracker.open_run("k1", "search", {}, {})
    below = tracker.open_run("k2", "trial", {}, {"stream": "rgb"}, parent=above)
    tracker.tag_run(below, {"outcome": "stopped early"})
    tags = tracker.tags(below)
    assert (tags["mlflow.parentRunId"], tags["stream"]) == (above, "rgb")
    assert tags["outcome"] == "stopped early"
    assert "mlflow.parentRunId" not in tracker.tags(above)


def test_params_are_flat_and_survive_a_rerun_with_other_workers(tracker: Tracker):
    many = {f"p{index}": index for index in range(150)}
    run = tracker.open_run("k", "rgb", {"train": {"rgb": {"epochs": 3}}, "many": many}, {})
    tracker.open_run("k", "rgb", {"train": {"rgb": {"epochs": 4}}, "new": [1, 2]}, {})
    params = tracker.client.get_run(run).data.params
    assert params["train.rgb.epochs"] == "3"
    assert params["new"] == "[1, 2]"
    assert len(params) == 152


def test_the_last_params_are_kept_whole_as_yaml(tracker: Tracker):
    run = tracker.open_run("k", "rgb", {"train": {"epochs": 3}}, {})
    assert tracker.read_text(run, "params.yaml") == "train:\n  epochs: 3\n"


def test_metrics_keep_their_steps(tracker: Tracker):
    run = tracker.open_run("k", "rgb", {}, {})
    for epoch in (1, 2):
        tracker.log_metrics(run, {"loss": 1 / epoch}, step=epoch)
    history = tracker.client.get_metric_history(run, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 1.0), (2, 0.5)]


def test_a_metric_of_the_whole_run_is_logged_when_it_changes(tracker: Tracker):
    run = tracker.open_run("k", "rgb", {}, {})
    for top1 in (0.5, 0.5, 0.25):
        tracker.set_metrics(run, {"test/top1": top1, "test/map": 0.5})
    history = tracker.client.get_metric_history(run, "test/top1")
    assert [(metric.step, metric.value) for metric in history] == [(0, 0.5), (0, 0.25)]
    assert tracker.client.get_run(run).data.metrics == {"test/top1": 0.25, "test/map": 0.5}
    assert len(tracker.client.get_metric_history(run, "test/map")) == 1


def test_a_run_stays_below_its_first_parent(tracker: Tracker):
    first, second, below = (tracker.open_run(key, key, {}, {}) for key in ("1", "2", "3"))
    tracker.nest_run(below, first)
    tracker.nest_run(below, second)
    assert tracker.tags(below)["mlflow.parentRunId"] == first


def test_a_dataset_that_another_training_enters_at_the_same_time_is_an_input_too(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
):
    run, log_inputs = tracker.open_run("k", "rgb", {}, {}), tracker.client.log_inputs
    asked: list[str] = []

    def taken_at_first(run_id: str, inputs: Any) -> None:
        asked.append(run_id)
        if len(asked) == 1:
            raise MlflowException("UNIQUE constraint failed: datasets.name")
        log_inputs(run_id, inputs)

    monkeypatch.setattr(tracker.client, "log_inputs", taken_at_first)
    version = DataVersion(videos="a1", manifest="b2", optical_flow="c3")
    tracker.log_dataset(run, Dataset("my_project", "train", version, 24, ("a", "b")))
    inputs = tracker.client.get_run(run).inputs
    assert inputs is not None
    [logged] = inputs.dataset_inputs
    assert logged.dataset.digest == version.id


def test_the_videos_of_a_run_are_its_inputs_once(tracker: Tracker):
    run = tracker.open_run("k", "rgb", {}, {})
    version = DataVersion(videos="a1", manifest="b2", optical_flow="c3")
    for split in ("train", "test", "train"):
        tracker.log_dataset(run, Dataset("my_project", split, version, 24, ("läuft", "winkt")))
    inputs = tracker.client.get_run(run).inputs
    assert inputs is not None
    found = {each.dataset.name: each for each in inputs.dataset_inputs}
    assert found.keys() == {"my_project-train", "my_project-test"}
    contexts = {name: each.tags[0].value for name, each in found.items()}
    assert contexts == {"my_project-train": "training", "my_project-test": "testing"}
    train = found["my_project-train"].dataset
    assert (train.digest, train.source_type) == (version.id, "dvc")
    assert json.loads(train.source) == {"videos": "a1", "manifest": "b2", "optical_flow": "c3"}
    assert json.loads(train.profile or "") == {
        "videos": 24,
        "classes": 2,
        "class_names": ["läuft", "winkt"],
    }


def test_a_failed_run_says_so(tracker: Tracker):
    run = tracker.open_run("k", "rgb", {}, {})
    tracker.close_run(run, failed=True)
    assert tracker.client.get_run(run).info.status == "FAILED"


def test_text_is_replaced_and_a_missing_file_is_none(tracker: Tracker):
    run = tracker.open_run("k", "rgb", {}, {})
    for text in ("first", "sécond"):
        tracker.log_text(run, text, "judgements/abc.json")
    assert tracker.read_text(run, "judgements/abc.json") == "sécond"
    assert tracker.read_text(run, "judgements/other.json") is None
    assert tracker.read_text(run, "nowhere/other.json") is None


def test_a_file_and_a_folder_are_stored(tracker: Tracker, model_folder: Path):
    run = tracker.open_run("k", "rgb", {}, {})
    tracker.log_files(run, model_folder / "model.json")
    tracker.log_files(run, model_folder, "network")
    assert tracker.read_text(run, "model.json") == "{}"
    assert tracker.read_text(run, "network/weights.safetensors") == "weights"


def test_a_model_is_registered_once_for_its_key(
    tracker: Tracker, model_folder: Path, model_name: str
):
    run = tracker.open_run("k", "rgb", {}, {})
    versions = [
        tracker.register_model(model_name, run, {"rgb": model_folder}, SERVING, {"top1": "0.5"})
        for _ in range(2)
    ]
    assert [version.number for version in versions] == [1, 1]
    other = tracker.open_run("k2", "rgb", {}, {})
    assert tracker.register_model(model_name, other, {"rgb": model_folder}, SERVING, {}).number == 2


def test_a_network_served_in_another_way_is_another_version(
    tracker: Tracker, model_folder: Path, model_name: str, tmp_path: Path
):
    run = tracker.open_run("k", "rgb", {}, {})
    ways = [SERVING, SERVING | {"num_segments": 7}, SERVING]
    versions = [
        tracker.register_model(model_name, run, {"rgb": model_folder}, serving, {})
        for serving in ways
    ]
    assert [version.number for version in versions] == [1, 2, 1]
    served = [tracker.download_model(version, tmp_path).serving for version in versions]
    assert served == ways


def test_a_kill_between_artifact_and_version_leaves_one_version(
    tracker: Tracker, model_folder: Path, model_name: str, monkeypatch: pytest.MonkeyPatch
):
    run = tracker.open_run("k", "rgb", {}, {})
    register = (model_name, run, {"rgb": model_folder}, SERVING, {})
    with monkeypatch.context() as killed:
        killed.setattr(tracker.client, "create_model_version", _die)
        with pytest.raises(KeyboardInterrupt):
            tracker.register_model(*register)
    assert tracker.register_model(*register).number == 1
    assert len(tracker.client.search_model_versions(f"name = '{model_name}'")) == 1


def test_a_downloaded_model_holds_the_networks_and_is_fetched_once(
    tracker: Tracker, model_folder: Path, model_name: str, tmp_path: Path
):
    flow_folder = tmp_path / "flow run" / "model"
    flow_folder.mkdir(parents=True)
    (flow_folder / "weights.safetensors").write_bytes(b"others")
    run = tracker.open_run("k", "fusion", {}, {})
    networks = {"rgb": model_folder, "flow": flow_folder}
    version = tracker.register_model(model_name, run, networks, SERVING, {})
    model = tracker.download_model(version, tmp_path / "cache")
    weights = {s: (f / "weights.safetensors").read_bytes() for s, f in model.networks.items()}
    assert weights == {"rgb": b"weights", "flow": b"others"}
    assert model.serving == SERVING
    marker = model.networks["rgb"] / "marker"
    marker.touch()
    tracker.download_model(version, tmp_path / "cache")
    assert marker.exists()


def test_an_alias_moves_and_a_missing_one_is_none(
    tracker: Tracker, model_folder: Path, model_name: str
):
    assert tracker.version_by_alias(model_name, "champion") is None
    for key in ("k1", "k2"):
        run = tracker.open_run(key, "rgb", {}, {})
        version = tracker.register_model(model_name, run, {"rgb": model_folder}, SERVING, {})
        tracker.set_alias(model_name, "champion", version.number)
    champion = tracker.version_by_alias(model_name, "champion")
    assert champion is not None
    assert (champion.number, champion.run_id) == (2, run)
    assert tracker.version_by_alias(model_name, "previous") is None


def test_an_unknown_version_is_one_clear_line(tracker: Tracker, model_name: str):
    with pytest.raises(RegistryError, match=f"MLflow at sqlite:.*{model_name}") as error:
        tracker.version(model_name, 7)
    assert "\n" not in str(error.value)


def test_a_deleted_experiment_is_named(store_uri: str):
    tracker = Tracker(store_uri, "doomed")
    found = tracker.client.get_experiment_by_name("doomed")
    assert found is not None
    tracker.client.delete_experiment(found.experiment_id)
    with pytest.raises(RegistryError, match=r"'doomed'.*was deleted: restore it"):
        Tracker(store_uri, "doomed")


def test_a_server_that_is_not_there_fails_in_seconds_without_its_password():
    started = time.monotonic()
    with pytest.raises(RegistryUnavailableError, match=r"answers at http://127\.0\.0\.1:1 "):
        Tracker("http://user:secret@127.0.0.1:1", "x")
    assert time.monotonic() - started < 10


def test_a_server_that_never_speaks_fails_in_seconds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 1)
    started = time.monotonic()
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(RegistryError, match=r"within 1 s: start it or change tracking\.uri"),
    ):
        Tracker(f"http://127.0.0.1:{listener.getsockname()[1]}", "x")
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("fault", "transient"),
    [
        ("INTERNAL_ERROR", True),
        ("TEMPORARILY_UNAVAILABLE", True),
        ("RESOURCE_DOES_NOT_EXIST", False),
        ("INVALID_PARAMETER_VALUE", False),
        (ConnectionResetError("reset by peer"), True),
        (PermissionError("not yours"), False),
    ],
    ids=str,
)
def test_a_servers_own_faults_may_pass_and_refusals_do_not(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, fault: str | OSError, transient: bool
):
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import ErrorCode

    def fail(*_args: object, **_kwargs: object) -> None:
        raise MlflowException("no", ErrorCode.Value(fault)) if isinstance(fault, str) else fault

    monkeypatch.setattr(tracker.client, "search_runs", fail)
    with pytest.raises(RegistryError) as caught:
        tracker.find_run("key")
    assert caught.value.transient is transient


def test_a_store_that_is_no_database_is_reported(tmp_path: Path):
    (tmp_path / "mlflow.db").write_text("not a database, though long enough to have a header" * 9)
    with pytest.raises(RegistryError, match="file is not a database"):
        Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}", "x")


@pytest.mark.parametrize("name", ["why?", "a%20b"])
def test_a_folder_that_an_address_cannot_name_is_refused(tmp_path: Path, name: str):
    with pytest.raises(RegistryError, match="rename that folder"):
        default_uri(Workspace(tmp_path / name))


def test_processes_that_start_and_write_at_once_all_succeed(tmp_path: Path):
    uri = default_uri(Workspace(tmp_path))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        runs = list(pool.map(_write_much, [uri] * 2, ["a", "b"]))
    client = Tracker(uri, "shared").client
    assert [len(client.get_metric_history(run, "loss")) for run in runs] == [30, 30]
    artifacts = client.get_run(runs[0]).info.artifact_uri
    assert artifacts is not None
    assert artifacts.startswith((tmp_path / "mlflow" / "artifacts").as_uri())


def _write_much(uri: str, key: str) -> str:
    tracker = Tracker(uri, "shared")
    run = tracker.open_run(key, key, {"a": 1}, {})
    for step in range(30):
        tracker.log_metrics(run, {"loss": 1.0, "accuracy": 0.5}, step=step)
    tracker.close_run(run)
    return run


def _die(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
