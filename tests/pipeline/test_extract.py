"""The ingest and extract stages on real videos, DVC and Ray."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stpa.compute.tasks import cluster
from stpa.config import Config
from stpa.data.ingest import ingest as ingest_videos
from stpa.data.manifest import Manifest, read_manifest
from stpa.data.versioning import read_version
from stpa.params import check_params
from stpa.progress import silent
from stpa.stages.extract import extract, extract_untracked
from stpa.stages.ingest import ingest
from stpa.workspace import Workspace
from tests.workspaces import (
    CLASSES,
    REPOSITORY,
    STPA,
    make_workspace,
    small_params,
    write_dataset,
    write_video,
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of this module's own: a test changes them."""
    return write_dataset(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def config() -> Config:
    return check_params(small_params(), REPOSITORY / "params.yaml")


@pytest.fixture(scope="module")
def local_cluster():
    with cluster(None):
        yield


@pytest.fixture(scope="module")
def extracted(
    tmp_path_factory: pytest.TempPathFactory, config: Config, source: Path, local_cluster: None
) -> Workspace:
    """A workspace with `source` ingested and extracted; each test leaves it so."""
    workspace = make_workspace(tmp_path_factory.mktemp("workspace"), small_params())
    assert ingest(workspace, config, source).changed
    extract(workspace, config)
    return workspace


def stored_flow(workspace: Workspace) -> dict[str, int]:
    """Map each stored file, without its suffix, to the time it was written."""
    folder = workspace.optical_flow
    return {
        str(path.relative_to(folder).with_suffix("")): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file()
    }


def usable(manifest: Manifest) -> set[str]:
    return {video.video_id for video in manifest.videos if video.status == "ok"}


def test_each_usable_video_has_its_flow_and_nothing_else_does(extracted):
    manifest = read_manifest(extracted.manifest)
    assert len(usable(manifest)) == 8
    assert set(stored_flow(extracted)) == usable(manifest)


def test_a_second_run_computes_nothing_and_says_all_is_done(extracted, config, source, monkeypatch):
    before = stored_flow(extracted), read_version(extracted.root)
    monkeypatch.setattr("stpa.stages.extract.cluster", lambda _: pytest.fail("took a cluster"))
    assert not ingest(extracted, config, source).changed
    reports = []
    version = extract(extracted, config, lambda *report: reports.append(report))
    assert (stored_flow(extracted), version) == before
    assert reports == [(8, 8)]


def test_only_a_new_video_is_extracted_a_lost_ones_flow_goes_and_all_comes_back(
    extracted, config, source, caplog
):
    version, before = read_version(extracted.root), stored_flow(extracted)
    new, lost = source / CLASSES[0] / "v_g01_c02.avi", source / CLASSES[0] / "v_g02_c01.avi"
    write_video(new, seed=9)
    lost.rename(source / "aside")
    result = ingest(extracted, config, source)
    assert (result.changed, result.num_come, result.num_left) == (True, 1, 1)
    assert "1 of 8 videos left the dataset and 1 came: the version before is kept" in caplog.text
    reports = []
    assert extract(extracted, config, lambda *report: reports.append(report)).id != version.id
    assert reports == [(7, 8), (8, 8)]
    after = stored_flow(extracted)
    assert set(after) - set(before) == {f"{CLASSES[0]}/v_g01_c02"}
    assert set(before) - set(after) == {f"{CLASSES[0]}/v_g02_c01"}
    kept = set(before) & set(after)
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}

    new.unlink()
    (source / "aside").rename(lost)
    ingest(extracted, config, source)
    assert extract(extracted, config) == version


@pytest.mark.slow
@pytest.mark.usefixtures("local_cluster")
def test_an_extraction_killed_half_way_goes_on_with_the_missing_videos(tmp_path, config, source):
    workspace = make_workspace(tmp_path / "workspace", small_params())
    for group in range(6):
        for label in CLASSES:
            name = tmp_path / "long" / label / f"v_g{group:02}_c01.avi"
            write_video(name, seed=group, size=128, num_frames=150)
    videos = usable(ingest_videos(workspace, config.data, tmp_path / "long", silent))
    program = (
        "import sys; from pathlib import Path; from stpa.params import load_config;"
        "from stpa.stages.extract import extract_untracked; from stpa.workspace import Workspace;"
        "w = Workspace(Path(sys.argv[1])); extract_untracked(w, load_config(w.params))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, workspace.root],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 90
    while len(set(stored_flow(workspace)) & videos) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(3)  # Ray's own processes follow
    done = {name: at for name, at in stored_flow(workspace).items() if name in videos}
    assert 2 <= len(done) < len(videos)

    extract_untracked(workspace, config)
    after = stored_flow(workspace)
    assert set(after) == videos
    assert {name: after[name] for name in done} == done


@pytest.mark.slow
def test_dvc_repro_comes_to_the_same_version(extracted, tmp_path):
    copy = shutil.copytree(extracted.root, tmp_path / "copy")
    (copy / "dvc.lock").unlink()
    subprocess.run(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=copy,
        env=os.environ | {"PATH": f"{STPA.parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        check=True,
    )
    assert read_version(copy) == read_version(extracted.root)
