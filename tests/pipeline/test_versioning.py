"""`stpa.data.versioning` with the real DVC."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stpa.data import versioning
from stpa.data.versioning import DataVersion, read_version, tracked_hash
from stpa.errors import RemoteError, VersioningError

REPOSITORY = Path(__file__).parents[2]
HOSTILE_NAMES = ["plain", "two words", "näme 名", "new\nline", "q\"uo'te*?[x]", "back\\slash", "-x"]


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tracked") / "workspace"
    for name in ("a", "b", "c", "d"):
        write(root / "data" / "videos" / "class" / f"{name}.avi", name)
    write(root / "data" / "manifest.csv", "manifest")
    write(root / "params.yaml", "optical_flow: {estimator: dis}")
    shutil.copyfile(REPOSITORY / "dvc.yaml", root / "dvc.yaml")
    versioning.initialise(root, "dvc-remote")
    track(root)
    return root


@pytest.fixture
def root(tracked: Path, tmp_path: Path) -> Path:
    """A workspace with four tracked "videos"."""
    return shutil.copytree(tracked, tmp_path / "workspace")


def write(path: Path, text: str) -> None:
    """Replace a file, as all of the pipeline does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text)


def track(root: Path) -> list[str | None]:
    versioning.track(root, [root / "data" / "videos", root / "data" / "manifest.csv"])
    return hashes(root)


def hashes(root: Path) -> list[str | None]:
    return [tracked_hash(root / "data" / name) for name in ("videos", "manifest.csv")]


def dvc(root: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


def cached_objects(root: Path) -> list[Path]:
    return [path for path in (root / ".dvc" / "cache").rglob("*") if path.is_file()]


def assert_cache_is_sound(root: Path) -> None:
    for path in cached_objects(root):
        digest = hashlib.md5(path.read_bytes()).hexdigest()
        assert digest == (path.parent.name + path.name).removesuffix(".dir")


def test_a_version_names_the_content_and_nothing_else(root):
    first = hashes(root)
    write(root / "data" / "videos" / "class" / "a.avi", "a")
    assert track(root) == first
    write(root / "data" / "videos" / "class" / "e.avi", "another")
    videos, manifest = track(root)
    assert videos != first[0]
    assert manifest == first[1]
    (root / "data" / "videos" / "class" / "e.avi").unlink()
    assert track(root) == first


def test_tracked_videos_keep_their_times_and_take_no_second_copy(root):
    video = root / "data" / "videos" / "class" / "new.avi"
    write(video, "new")
    os.utime(video, (1_500_000_000, 1_500_000_000))
    track(root)
    assert video.stat().st_mtime == 1_500_000_000
    assert any(path.samefile(video) for path in cached_objects(root))


def test_a_workspace_in_an_ignored_folder_of_a_git_repository_takes_hostile_names(tmp_path):
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text("/outputs/\n")
    root = tmp_path / "outputs" / "demo"
    for name in HOSTILE_NAMES:
        write(root / "data" / "videos" / name / f"{name}.avi", name)
    write(root / "data" / "manifest.csv", "manifest")
    versioning.initialise(root, "dvc-remote")
    track(root)
    versioning.push(root)
    shutil.rmtree(root / "data" / "videos")
    shutil.rmtree(root / ".dvc" / "cache")
    dvc(root, "pull")
    for name in HOSTILE_NAMES:
        assert (root / "data" / "videos" / name / f"{name}.avi").read_text() == name


def test_a_workspace_that_is_a_git_repository_ignores_data_but_not_versions(tmp_path):
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    shutil.copyfile(REPOSITORY / ".gitignore", tmp_path / ".gitignore")
    write(tmp_path / "data" / "videos" / "class" / "a.avi", "a")
    write(tmp_path / "data" / "manifest.csv", "manifest")
    versioning.initialise(tmp_path, "dvc-remote")
    track(tmp_path)
    seen = subprocess.run(
        ["git", "status", "--short", "--untracked-files=all"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "data/videos.dvc" in seen
    assert "data/manifest.csv.dvc" in seen
    assert ".dvc/config" in seen
    assert "a.avi" not in seen


def test_initialise_again_changes_nothing_and_another_remote_replaces_it(root):
    config = root / ".dvc" / "config"
    dvc(root, "remote", "modify", "storage", "jobs", "3")
    before = config.read_text()
    modified = config.stat().st_mtime_ns
    versioning.initialise(root, "dvc-remote")
    assert config.stat().st_mtime_ns == modified
    versioning.initialise(root, "s3://bucket/prefix")
    listed = dvc(root, "remote", "list")
    assert listed.split() == ["storage", "s3://bucket/prefix", "(default)"]
    versioning.initialise(root, "dvc-remote")
    assert sorted(config.read_text().split()) == sorted(before.split())


def test_push_refuses_to_call_lost_objects_pushed_and_tracking_restores_them(root):
    digest = hashlib.md5(b"c").hexdigest()
    (root / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]).unlink()
    with pytest.raises(VersioningError, match="did not reach the DVC remote"):
        versioning.push(root)
    track(root)
    versioning.push(root)


def test_a_version_comes_back_from_a_folder(root, tmp_path):
    write(root / "data" / "optical_flow" / "class" / "a.avi", "flow of a")
    versioning.commit_extraction(root)
    remote = str(tmp_path / "rëmote")
    versioning.initialise(root, remote)
    versioning.push(root)
    elsewhere = tmp_path / "ëlsewhere"
    elsewhere.mkdir()
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copyfile(root / name, elsewhere / name)
    versioning.restore(elsewhere, remote, read_version(root))
    assert read_version(elsewhere) == read_version(root)
    assert (elsewhere / "data" / "videos" / "class" / "a.avi").read_text() == "a"
    assert (elsewhere / "data" / "optical_flow" / "class" / "a.avi").read_text() == "flow of a"


def test_a_restoration_that_is_cut_off_goes_on_and_nothing_is_versioned_meanwhile(
    root, monkeypatch
):
    write(root / "data" / "optical_flow" / "class" / "a.avi", "flow of a")
    versioning.commit_extraction(root)
    versioning.push(root)
    older = read_version(root)
    write(root / "data" / "videos" / "class" / "a.avi", "another a")
    track(root)
    versioning.commit_extraction(root)
    run = versioning.run_dvc

    def die_at_checkout(root: Path, *arguments: str) -> str:
        if arguments[0] == "checkout":
            raise KeyboardInterrupt
        return run(root, *arguments)

    monkeypatch.setattr(versioning, "run_dvc", die_at_checkout)
    with pytest.raises(KeyboardInterrupt):
        versioning.restore(root, "dvc-remote", older)
    monkeypatch.setattr(versioning, "run_dvc", run)
    with pytest.raises(VersioningError, match="cut off: run `stpa data restore` once more"):
        track(root)
    versioning.restore(root, "dvc-remote", older)
    assert read_version(root) == older
    assert (root / "data" / "videos" / "class" / "a.avi").read_text() == "a"
    track(root)
    assert read_version(root) == older
    assert "up to date" in dvc(root, "status")


def test_a_restoration_reads_the_cache_and_the_settings_that_the_user_chose(root, tmp_path):
    write(root / "data" / "optical_flow" / "class" / "a.avi", "flow of a")
    versioning.commit_extraction(root)
    versioning.push(root)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copyfile(root / name, elsewhere / name)
    remote = str(root / "dvc-remote")
    versioning.initialise(elsewhere, remote)
    dvc(elsewhere, "cache", "dir", "--local", str(tmp_path / "shared-cache"))
    versioning.restore(elsewhere, remote, read_version(root))
    assert (elsewhere / "data" / "videos" / "class" / "a.avi").read_text() == "a"
    assert any((tmp_path / "shared-cache").rglob("*"))


def test_an_unreachable_remote_is_one_line(root):
    versioning.initialise(root, "/proc/no-such-folder")
    with pytest.raises(RemoteError, match=r"^dvc .* failed: .*") as caught:
        versioning.push(root)
    assert "\n" not in str(caught.value)
    assert "does not say why" not in str(caught.value)


def test_a_committed_extraction_is_a_stage_that_dvc_finds_done(root):
    flow = root / "data" / "optical_flow" / "class"
    write(flow / "a.avi", "flow of a")
    write(flow / "b.avi", "flow of b")
    versioning.commit_extraction(root)
    versioning.push(root)
    assert json.loads(dvc(root, "status", "--json")) == {}
    assert "didn't change" in dvc(root, "repro", "extract")
    first = read_version(root)
    assert first == DataVersion(first.videos, first.manifest, first.optical_flow)
    assert len(first.id) == 12

    write(flow / "b.avi", "other flow of b")
    (flow / "a.avi").unlink()
    write(flow / "c.avi", "flow of c")
    versioning.commit_extraction(root)
    second = read_version(root)
    assert second.optical_flow != first.optical_flow
    assert second.id != first.id
    assert_cache_is_sound(root)


def test_reading_a_version_says_which_stage_is_missing(root):
    with pytest.raises(VersioningError, match="run `stpa extract` first"):
        read_version(root)
    (root / "data" / "videos.dvc").unlink()
    with pytest.raises(VersioningError, match="run `stpa ingest` first"):
        read_version(root)


def test_half_written_records_are_made_again(root):
    before = hashes(root)
    write(root / "data" / "videos.dvc", "")
    write(root / "data" / "manifest.csv.dvc", "outs:\n- md5: 'f69f")
    assert hashes(root) == [None, None]
    assert track(root) == before
    write(root / "data" / "optical_flow" / "a.avi", "flow of a")
    write(root / "dvc.lock", "schema: '2.0'\nstages: {extract: [")
    versioning.commit_extraction(root)
    assert [read_version(root).videos, read_version(root).manifest] == before


def test_a_workspace_without_its_stages_says_how_to_make_them(root):
    (root / "dvc.yaml").unlink()
    with pytest.raises(VersioningError, match="stpa init"):
        versioning.commit_extraction(root)


def lock_record(root: Path, pid: int) -> Path:
    path = root / ".dvc" / "tmp" / "rwlock"
    holder = {"pid": pid, "cmd": "dvc repro"}
    path.write_text(json.dumps({"write": {str(root / "data" / "videos"): holder}}))
    return path


def test_the_lock_of_a_killed_process_whose_number_is_in_use_again_is_released(root):
    path = lock_record(root, os.getpid())
    os.utime(path, (1_500_000_000, 1_500_000_000))
    track(root)


def test_a_lock_record_that_a_kill_left_half_written_is_released(root):
    lock_record(root, os.getpid()).write_text('{"write": {"')
    track(root)


def test_a_live_holder_of_the_lock_is_waited_for_then_named_an_obstacle(root, monkeypatch):
    monkeypatch.setattr("stpa.data.dvc.LOCK_WAIT_SECONDS", 1.5)
    lock_record(root, os.getpid())
    with pytest.raises(VersioningError, match="another DVC process is at work in"):
        track(root)


def test_a_full_disk_is_one_clear_line_and_leaves_no_version(tmp_path):
    mounted = tmp_path / "small"
    mounted.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(mounted)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("cannot mount a small disk here")
    try:
        versioning.initialise(mounted, str(tmp_path / "remote"))
        (mounted / ".dvc" / "config").write_text(
            "[cache]\n    type = copy\n[core]\n  no_scm = True"
        )
        write(mounted / "data" / "videos" / "a.avi", "x" * 110_000)
        with pytest.raises(VersioningError, match="no space is left on the disk"):
            versioning.track(mounted, [mounted / "data" / "videos"])
        assert tracked_hash(mounted / "data" / "videos") is None
    finally:
        subprocess.run(["umount", str(mounted)], check=True)
