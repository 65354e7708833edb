"""Data versions on a real S3 server: pushed, brought back, and what its death does."""

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stpa.compute.tasks import cluster
from stpa.compute.train import fit_on_cluster, remove_checkpoints
from stpa.config import ComputeConfig
from stpa.data import versioning
from stpa.data.storage import RemoteFiles
from stpa.data.versioning import read_version
from stpa.errors import DataError, ModelError, RemoteError, VersioningError
from stpa.models.checkpoint import WEIGHTS_FILE
from stpa.params import load_config
from stpa.serving.download import download
from stpa.stages.evaluate import evaluate
from stpa.stages.extract import extract
from stpa.stages.ingest import ingest
from stpa.stages.plan import make_plan
from stpa.stages.train import train
from stpa.streams import FLOW, RGB
from stpa.weights import read_weights
from tests.servers.swift import SwiftServer, swift_server
from tests.unit.training.test_fit import assert_same_tensors, make_job, write_videos
from tests.workspaces import (
    NUM_GROUPS,
    REPOSITORY,
    make_workspace,
    small_params,
    write_dataset,
)

VIDEO_BYTES = 300_000
NUM_VIDEOS = 40


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwiftServer]:
    with swift_server(tmp_path_factory.mktemp("swift")) as server:
        yield server


@pytest.fixture
def remote(server: SwiftServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An address in a bucket of its own."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    bucket = hashlib.md5(str(tmp_path).encode()).hexdigest()[:12]
    server.filesystem().mkdir(bucket)
    return f"s3://{bucket}/dvc"


@pytest.fixture
def root(tmp_path: Path, remote: str) -> Path:
    """A workspace whose data version has not been pushed."""
    root = empty_workspace(tmp_path / "wörk space")
    for index in range(NUM_VIDEOS):
        write(root / "data" / "videos" / "class ü" / f"{index}.avi", os.urandom(VIDEO_BYTES))
    write(root / "data" / "manifest.csv", b"manifest")
    write(root / "data" / "optical_flow" / "class ü" / "0.avi", b"flow")
    versioning.initialise(root, remote)
    record(root)
    return root


def empty_workspace(root: Path) -> Path:
    root.mkdir()
    shutil.copy(REPOSITORY / "dvc.yaml", root)
    (root / "params.yaml").write_text("optical_flow: {estimator: dis}")
    return root


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def record(root: Path) -> None:
    versioning.track(root, [root / "data" / "videos", root / "data" / "manifest.csv"])
    versioning.commit_extraction(root)


def contents(root: Path) -> dict[str, bytes]:
    data = root / "data"
    return {
        path.relative_to(data).as_posix(): path.read_bytes()
        for path in sorted(data.rglob("*"))
        if path.is_file() and path.suffix != ".dvc" and path.name != ".gitignore"
    }


@contextmanager
def killed(server: SwiftServer, when: Callable[[], bool]) -> Iterator[None]:
    """Kill the server at the moment when `when` is true; start it again after the block."""
    over = threading.Event()

    def kill_in_time() -> None:
        while not over.is_set() and not when():
            time.sleep(0.001)
        server.kill()

    killer = threading.Thread(target=kill_in_time)
    killer.start()
    if when():
        killer.join()
    try:
        yield
    finally:
        over.set()
        killer.join()
        server.start()


def assert_remote_is_sound(server: SwiftServer, remote: str) -> None:
    """Each object there is whole: it is named by its content."""
    filesystem = server.filesystem()
    for path in filesystem.find(remote):
        content = filesystem.cat_file(path)
        assert isinstance(content, bytes)
        digest = hashlib.md5(content).hexdigest()
        assert digest == "".join(path.split("/")[-2:]).removesuffix(".dir")


def test_a_version_comes_back_in_an_empty_workspace(server, root, remote, tmp_path):
    versioning.push(root)
    assert_remote_is_sound(server, remote)
    elsewhere = empty_workspace(tmp_path / "elsewhere")
    versioning.restore(elsewhere, remote, read_version(root))
    assert read_version(elsewhere) == read_version(root)
    assert contents(elsewhere) == contents(root)


@pytest.mark.slow
def test_an_older_version_takes_the_place_of_a_newer_one(root, remote, tmp_path):
    versioning.push(root)
    before, version = contents(root), read_version(root)
    (root / "data" / "videos" / "class ü" / "0.avi").unlink()
    write(root / "data" / "videos" / "class ü" / "new.avi", b"new")
    with pytest.raises(VersioningError, match="videos holds what no data version has"):
        versioning.restore(root, remote, version)
    record(root)
    assert read_version(root) != version
    versioning.restore(root, remote, version)
    assert contents(root) == before
    assert read_version(root) == version


@pytest.mark.slow
def test_objects_that_are_gone_from_the_bucket_leave_the_workspace_as_it_was(
    server, root, remote, tmp_path
):
    versioning.push(root)
    version = read_version(root)
    manifest = hashlib.md5(b"manifest").hexdigest()
    [lost] = [path for path in server.filesystem().find(remote) if path.endswith(manifest[2:])]
    server.filesystem().rm_file(lost)
    elsewhere = empty_workspace(tmp_path / "elsewhere")
    with pytest.raises(
        RemoteError, match=r"does not have all of the version: manifest\.csv"
    ) as caught:
        versioning.restore(elsewhere, remote, version)
    assert "\n" not in str(caught.value)
    with pytest.raises(VersioningError, match="no versioned dataset"):
        read_version(elsewhere)
    assert contents(elsewhere) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "403"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "Could not connect"),
    ],
)
def test_a_remote_that_does_not_let_in_is_one_line(root, remote, monkeypatch, change, told):
    for name, value in change.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RemoteError, match=told) as caught:
        versioning.check_remote(root, remote)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_bucket_that_is_not_there_is_told_from_an_empty_one(root, remote):
    assert "nothing is stored there yet" in versioning.check_remote(root, remote)
    with pytest.raises(RemoteError, match=r"there is no s3://no-such-bucket: make it"):
        versioning.check_remote(root, "s3://no-such-bucket/dvc")


def test_weights_are_read_from_a_bucket_and_a_dead_server_is_one_line(
    server, remote, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    save_file({"layer.weight": torch.arange(6.0)}, tmp_path / "w.safetensors")
    address = f"{remote}/w.safetensors"
    server.filesystem().put_file(str(tmp_path / "w.safetensors"), address)
    assert read_weights(address)["layer.weight"].tolist() == list(range(6))
    with killed(server, when=lambda: True):
        fsspec.filesystem("s3").invalidate_cache()
        with pytest.raises(ModelError, match=f"{address} cannot be fetched") as caught:
            read_weights(address)
    assert "\n" not in str(caught.value)
    assert read_weights(address)["layer.weight"].tolist() == list(range(6))


def stored_videos(root: Path, remote: str, cache: Path) -> RemoteFiles:
    objects = versioning.list_objects(root, root / "data" / "videos")
    return RemoteFiles(remote, objects, cache, cache_bytes=10**8)


@pytest.mark.slow
def test_videos_are_read_from_the_bucket_and_a_dead_server_is_one_line(
    server, root, remote, tmp_path, monkeypatch
):
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    versioning.push(root)
    files = stored_videos(root, remote, tmp_path / "cache")
    names = sorted(files.objects)
    assert len(names) == NUM_VIDEOS
    with files.local(names[0]) as path:
        assert path.read_bytes() == (root / "data" / "videos" / names[0]).read_bytes()
    with killed(server, when=lambda: True):
        with pytest.raises(RemoteError, match="cannot be fetched") as caught, files.local(names[1]):
            pass
        with files.local(names[0]) as path:  # what the cache holds is read all the same
            assert path.stat().st_size == VIDEO_BYTES
    assert "\n" not in str(caught.value)
    assert [path.name for path in (files.cache / "objects").iterdir()] == [files.objects[names[0]]]


@pytest.mark.slow
def test_reading_goes_on_where_the_server_comes_back_from_the_dead(server, root, remote, tmp_path):
    versioning.push(root)
    files = stored_videos(root, remote, tmp_path / "cache")
    begun = threading.Event()
    restarted = threading.Thread(target=lambda: begun.wait() and (server.kill(), server.start()))
    restarted.start()
    for count, name in enumerate(sorted(files.objects)):
        if count == 3:
            begun.set()
        with files.local(name) as path:
            assert path.read_bytes() == (root / "data" / "videos" / name).read_bytes()
    restarted.join()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
def test_networks_are_trained_and_swept_from_the_bucket_where_the_disk_is_empty(remote, tmp_path):
    """As from a shared folder, to the bit."""
    weights, logits = {}, {}
    for read_from in ("workspace", "remote"):
        params = small_params(
            data={"dataset": "folder", "remote": remote, "num_folds": 2},
            compute={
                "read_from": read_from,
                "cache_folder": str(tmp_path / "cache"),
                "loader_processes": 2 if read_from == "remote" else 0,
            },
        )
        workspace = make_workspace(tmp_path / read_from, params)
        config = load_config(workspace.params)
        ingest(workspace, config, write_dataset(tmp_path / "source", num_frames=8))
        extract(workspace, config)
        if read_from == "remote":
            shutil.rmtree(workspace.videos)
            shutil.rmtree(workspace.optical_flow)
        plan = make_plan(workspace, config)
        for network in plan.of_head("tsn"):
            folder = train(plan, network).folder
            weights[read_from, network.stream] = load_file(folder / WEIGHTS_FILE)
            logits[read_from, network.stream] = evaluate(plan, network).at(3)
    copies = list((tmp_path / "cache" / "objects").iterdir())
    assert len(copies) == 2 * NUM_GROUPS, "the classes look alike"
    for stream in (RGB, FLOW):
        near, far = weights["workspace", stream], weights["remote", stream]
        assert all(torch.equal(value, far[name]) for name, value in near.items())
        np.testing.assert_array_equal(logits["workspace", stream], logits["remote", stream])


@pytest.mark.slow
def test_a_push_whose_server_dies_fails_and_the_next_one_completes_it(
    server, root, remote, tmp_path
):
    filesystem = server.filesystem()
    with (
        killed(server, when=lambda: bool(filesystem.find(remote))),
        pytest.raises(RemoteError) as caught,
    ):
        versioning.push(root)
    assert "\n" not in str(caught.value)
    assert 0 < len(server.filesystem().find(remote)) < NUM_VIDEOS + 3, "killed in the middle"
    assert_remote_is_sound(server, remote)
    versioning.push(root)
    assert_remote_is_sound(server, remote)
    elsewhere = empty_workspace(tmp_path / "elsewhere")
    versioning.restore(elsewhere, remote, read_version(root))
    assert contents(elsewhere) == contents(root)


@pytest.mark.slow
def test_a_restoration_whose_server_dies_changes_nothing_and_the_next_one_completes_it(
    server, root, remote, tmp_path
):
    versioning.push(root)
    version = read_version(root)
    elsewhere = empty_workspace(tmp_path / "elsewhere")
    cache = elsewhere / ".dvc" / "cache"
    with (
        killed(server, when=lambda: any(path.is_file() for path in cache.rglob("*"))),
        pytest.raises(RemoteError, match="does not give the version"),
    ):
        versioning.restore(elsewhere, remote, version)
    assert contents(elsewhere) == {}
    versioning.restore(elsewhere, remote, version)
    assert contents(elsewhere) == contents(root)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")  # of Ray's own code
def test_a_training_keeps_its_checkpoints_in_a_bucket_and_goes_on_from_there(remote, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    job = make_job(write_videos(videos), num_epochs=10)
    compute = ComputeConfig(**small_params()["compute"])
    storage = f"{remote}/checkpoints"

    def fit(storage: str, on_epoch: Callable[[dict[str, float]], None]) -> Path:
        checkpoint = fit_on_cluster(
            job, storage=storage, compute=compute, decode_seconds=60.0, on_epoch=on_epoch
        )
        return Path(checkpoint.to_directory(str(tmp_path / storage.rpartition("/")[2])))

    def give_up(metrics: dict[str, float]) -> None:
        files, folder = fsspec.url_to_fs(storage)
        deadline = time.monotonic() + 60
        while not files.exists(f"{folder}/checkpoint_manager_snapshot.json"):  # Ray's list of them
            assert time.monotonic() < deadline
            files.invalidate_cache()
        raise KeyboardInterrupt

    epochs: list[float] = []
    with cluster(None):
        undisturbed = fit(str(tmp_path / "run"), lambda metrics: None)
        with pytest.raises(KeyboardInterrupt):
            fit(storage, give_up)
    with cluster(None):
        resumed = fit(storage, lambda metrics: epochs.append(metrics["epoch"]))
    assert epochs
    assert 1 not in epochs
    assert_same_tensors(resumed / WEIGHTS_FILE, undisturbed / WEIGHTS_FILE)
    remove_checkpoints(storage)
    assert not fsspec.url_to_fs(storage)[0].exists(storage)


def test_a_video_at_an_address_is_fetched_to_be_classified(remote, tmp_path):
    video = b"as it is stored"
    fsspec.url_to_fs(remote)[0].pipe(f"{remote}/clips/a.mp4", video)
    path = download(f"{remote}/clips/a.mp4", tmp_path)
    assert path.suffix == ".mp4"
    assert path.read_bytes() == video
    with pytest.raises(DataError, match="cannot be fetched"):
        download(f"{remote}/clips/gone.mp4", tmp_path)
    with pytest.raises(DataError, match="is larger than"):
        download(f"{remote}/clips/a.mp4", tmp_path, largest_gib=1e-9)
