"""A workspace's own MLflow store after the workspace was moved or copied."""

import fcntl
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from stpa.config import TrackingConfig
from stpa.errors import ComputeError, RegistryError
from stpa.registry.tracking import Tracker, open_tracker, relocate_store
from stpa.workspace import Workspace

TRACKING = TrackingConfig(uri=None, experiment="e")


def elsewhere(workspace: Workspace) -> set[str]:
    """Return addresses that are not of a workspace's own files, though some look like it."""
    beside = (workspace.mlflow / "artifacts of others").resolve().as_uri()
    return {"s3://bucket/mlflow/artifacts", "file:///data/artifacts", beside}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with a registered model; no test may change it."""
    workspace = Workspace(tmp_path_factory.mktemp("one's own") / "wörk #1 100%")
    network = tmp_path_factory.mktemp("network")
    (network / "weights.safetensors").write_bytes(b"weights")
    tracker = open_tracker(workspace, TRACKING)
    for number, location in enumerate(elsewhere(workspace)):
        tracker.client.create_experiment(f"another {number}", location)
    run = tracker.open_run("k", "rgb", {"train": {"epochs": 3}}, {})
    version = tracker.register_model("m", run, {"rgb": network}, {"num_segments": 3}, {})
    tracker.set_alias("m", "champion", version.number)
    return workspace


@pytest.fixture
def copy(original: Workspace, tmp_path: Path) -> Workspace:
    return Workspace(shutil.copytree(original.root, tmp_path / "cöpy"))


def files(workspace: Workspace) -> dict[Path, tuple[int, int]]:
    """Map each file to its size and the time it was written."""
    found = [path for path in workspace.root.rglob("*") if path.is_file()]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def addresses(workspace: Workspace) -> list[str]:
    """Return the store's rows that hold an address."""
    with closing(sqlite3.connect(workspace.mlflow / "mlflow.db")) as connection:
        return [row for row in connection.iterdump() if "://" in row]


def assert_works(workspace: Workspace, cache: Path, weights: bytes = b"weights") -> None:
    """Read the champion, then register another model, all within `workspace`."""
    tracker = open_tracker(workspace, TRACKING)
    champion = tracker.version_by_alias("m", "champion")
    assert champion is not None
    model = tracker.download_model(champion, cache / "first")
    assert (model.networks["rgb"] / "weights.safetensors").read_bytes() == weights
    assert tracker.read_text(champion.run_id, "params.yaml") == "train:\n  epochs: 3\n"
    tracker.log_text(champion.run_id, "{}", "judgements/d1.json")
    run = tracker.open_run("k2", "rgb", {}, {})
    version = tracker.register_model("m", run, model.networks, {"num_segments": 3}, {})
    assert version.number == champion.number + 1
    assert tracker.download_model(version, cache / "second").serving == {"num_segments": 3}
    for run_id in (champion.run_id, run):
        address = tracker.client.get_run(run_id).info.artifact_uri or ""
        assert address.startswith((workspace.mlflow / "artifacts").as_uri())
        assert (workspace.mlflow / "artifacts" / run_id / "artifacts" / "params.yaml").exists()


def test_a_copy_is_used_where_it_is_and_leaves_the_original_alone(
    original: Workspace, copy: Workspace, tmp_path: Path
):
    before = files(original)
    [weights] = copy.mlflow.rglob("weights.safetensors")
    weights.write_bytes(b"the copy's own")
    assert_works(copy, tmp_path, weights.read_bytes())
    assert files(original) == before


def test_a_moved_workspace_is_used_where_it_is(copy: Workspace, tmp_path: Path):
    assert_works(copy, tmp_path)
    moved = Workspace(tmp_path / "another" / "möved #2")
    moved.root.parent.mkdir()
    copy.root.rename(moved.root)
    tracker = open_tracker(moved, TRACKING)
    run = tracker.open_run("k3", "rgb", {}, {})
    tracker.log_text(run, "text", "text.txt")
    version = tracker.version("m", 2)
    assert tracker.download_model(version, tmp_path / "third").serving == {"num_segments": 3}
    assert not copy.root.exists()


def test_addresses_of_other_files_stay(original: Workspace, copy: Workspace):
    relocate_store(copy)
    experiments = Tracker(f"sqlite:///{copy.mlflow / 'mlflow.db'}", "e").client.search_experiments()
    assert elsewhere(original) < {each.artifact_location for each in experiments}


@contextmanager
def at_work(workspace: Workspace) -> Iterator[None]:
    """Hold a workspace as another process would."""
    with (workspace.root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_nothing_moves_under_a_process_that_is_at_work(copy: Workspace):
    before = addresses(copy)
    with at_work(copy), pytest.raises(ComputeError, match="another process is at work"):
        relocate_store(copy)
    assert addresses(copy) == before
    relocate_store(copy)
    assert addresses(copy) != before
    with at_work(copy):  # it is in its place, and needs no lock
        relocate_store(copy)


def test_what_ends_it_half_way_leaves_all_as_it_was(copy: Workspace, original: Workspace):
    before = addresses(copy)
    database = copy.mlflow / "mlflow.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE UPDATE ON model_versions "
            "BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        )
    with pytest.raises(RegistryError, match=r"mlflow\.db cannot be used: the disk is full"):
        relocate_store(copy)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DROP TRIGGER full")
    assert addresses(copy) == before
    relocate_store(copy)
    former = (original.mlflow / "artifacts").as_uri()
    assert not any(f"{former}{end}" in row for row in addresses(copy) for end in ("/", "'"))


def test_a_store_without_tables_is_left_to_mlflow(tmp_path: Path):
    workspace = Workspace(tmp_path)
    relocate_store(workspace)
    assert list(tmp_path.iterdir()) == []
    workspace.mlflow.mkdir()
    (workspace.mlflow / "mlflow.db").touch()
    relocate_store(workspace)
    assert (workspace.mlflow / "mlflow.db").stat().st_size == 0


def test_a_file_that_is_no_database_is_reported(tmp_path: Path):
    workspace = Workspace(tmp_path)
    workspace.mlflow.mkdir()
    (workspace.mlflow / "mlflow.db").write_text("not a database, though as long as one" * 99)
    with pytest.raises(RegistryError, match=r"mlflow\.db cannot be used: file is not a database"):
        relocate_store(workspace)
