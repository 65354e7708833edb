"""What a person gets wrong, on the real command line: one line that says what to do."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from stpa.cli import main
from stpa.files import read_json
from stpa.local_server import free_port
from stpa.params import load_config, read_params
from stpa.presets import preset_path
from stpa.stages.ingest import ingest
from stpa.workspace import Workspace
from tests.workspaces import (
    CLASSES,
    STPA,
    make_workspace,
    run_stpa,
    small_params,
    write_dataset,
    write_video,
)

COMMANDS_IN_ORDER = ("ingest", "extract", "train", "evaluate", "fuse", "promote")


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that a failed command says, without where its log is."""
        assert self.code in (1, 2), self
        [line] = self.err.splitlines()
        line = line.partition(" (log: ")[0]
        assert line.startswith("error: ")
        assert "Error" not in line, "a fault that a person can cause has no class name"
        return line


Stpa = Callable[..., Outcome]


@pytest.fixture
def stpa(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Stpa]:
    """Run the command line in this process, which has the slow imports done."""
    before = dict(os.environ)

    def run(*arguments: str | Path) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["stpa", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        out, err = capsys.readouterr()
        return Outcome(code, str(out), str(err))

    yield run
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace that holds nothing but its parameters."""
    return make_workspace(tmp_path / "workspace", small_params())


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Workspace:
    """A workspace with a dataset, and services that nobody runs."""
    params = small_params(
        compute={"address": f"127.0.0.1:{free_port()}"},
        tracking={"uri": f"http://127.0.0.1:{free_port()}"},
    )
    workspace = make_workspace(tmp_path_factory.mktemp("ingested"), params)
    ingest(workspace, load_config(workspace.params), source)
    return workspace


def content(root: Path) -> dict[str, tuple[int, int]]:
    """Map each file to its size and time; a lock, logs and the services' databases do not count."""
    return {
        str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
        and path.relative_to(root).parts[0] not in (".lock", "logs", "mlflow", "prefect")
    }


class TestVideos:
    """Whatever the folder is, nothing of it is taken in before it is known to be a dataset."""

    @pytest.fixture(autouse=True)
    def _nothing_is_written(self, workspace: Workspace) -> Iterator[None]:
        before = content(workspace.root)
        yield
        assert content(workspace.root) == before

    def refused(self, stpa: Stpa, source: Path, workspace: Workspace) -> str:
        return stpa("ingest", source, "--workspace", workspace.root).error

    def test_a_missing_folder(self, stpa, tmp_path, workspace):
        error = self.refused(stpa, tmp_path / "nowhere", workspace)
        assert error.endswith("nowhere is not a folder: name the one that holds the videos")

    def test_no_folder_at_all(self, stpa, workspace):
        error = stpa("ingest", "--workspace", workspace.root).error
        assert "no source was given" in error
        assert "stpa ingest FOLDER" in error

    def test_an_empty_folder(self, stpa, tmp_path, workspace):
        (tmp_path / "empty").mkdir()
        error = self.refused(stpa, tmp_path / "empty", workspace)
        assert "no videos: expected one sub-folder a class, with files that end in .3g2" in error

    def test_one_class(self, stpa, tmp_path, workspace):
        for group in range(3):
            write_video(tmp_path / "one" / "only" / f"v_g{group}.avi", seed=group)
        error = self.refused(stpa, tmp_path / "one", workspace)
        assert "one class only ('only'): add a second sub-folder" in error

    def test_a_class_with_one_video_and_a_stray_video_are_told_together(
        self, stpa, tmp_path, workspace
    ):
        source = write_dataset(tmp_path / "some")
        for rare in (source / "rare" / "v_g00.avi", source / "stray.avi"):
            write_video(rare, seed=0)
        error = self.refused(stpa, source, workspace)
        assert "class 'rare' has no t" in error
        assert "at least two recordings (data.group_pattern)" in error
        assert "videos outside any class folder ('stray.avi'): move them into one" in error


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda video: video.write_text("not a video"), "does not decode"),
        (lambda video: os.truncate(video, video.stat().st_size * 2 // 3), "frames decode"),
        (lambda video: video.write_bytes(b""), "is empty"),
    ],
    ids=["text", "truncated", "empty"],
)
def test_too_many_videos_that_do_not_decode_are_named_and_give_no_dataset(
    stpa, tmp_path, workspace, damage, reason
):
    source = write_dataset(tmp_path / "damaged", num_frames=12)
    damage(source / CLASSES[1] / "v_g00_c01.avi")
    error = stpa("ingest", source, "--workspace", workspace.root).error
    assert "1 of 8 videos cannot be used, more than data.max_quarantined 0.05 allows" in error
    assert f"('{CLASSES[1]}/v_g00_c01.avi': " in error
    assert reason in error
    assert not workspace.manifest.exists()
    assert stpa("train", "--workspace", workspace.root).error.endswith("run `stpa ingest` first")


def test_a_few_that_do_not_decode_are_left_out_and_hostile_names_are_taken(stpa, tmp_path):
    workspace = make_workspace(tmp_path / "w ö", small_params(data={"max_quarantined": 0.2}))
    source = write_dataset(tmp_path / "Videos — übrig, 'quoted' & 名")
    write_video(source / CLASSES[0] / "-x [draft] *名* 'q\"uote'.AVI", seed=9)
    (source / CLASSES[1] / "v_g00_c02.avi").write_text("not a video")
    outcome = stpa("ingest", source, "--workspace", workspace.root)
    assert outcome.code == 0
    said = " ".join(outcome.out.split())
    assert said.startswith("10 videos of 2 classes: ")
    assert said.endswith("1 quarantined; 10 came, 0 left")


class TestParams:
    """All faults of params.yaml come at once, each with what to write instead."""

    def test_all_faults_are_listed_with_suggestions(self, stpa, workspace):
        text = workspace.params.read_text(encoding="utf-8")
        for right, wrong in {
            "batch_size:": "batchsize:",
            "bound_px: 20": "bound_px: -20",
            "mobilenetv3_small_050": "mobilenet_v3_small_050",
            "dataset: folder": "dataset: foldr",
        }.items():
            assert right in text
            text = text.replace(right, wrong)
        workspace.params.write_text(text, encoding="utf-8")
        error = stpa("retrain", "--workspace", workspace.root).error
        assert "has 5 error(s)" in error
        assert "unknown key train.batchsize (did you mean batch_size?)" in error
        assert "missing key train.batch_size" in error
        assert "optical_flow.bound_px is -20: input should be greater than 0" in error
        assert "'mobilenet_v3_small_050' is unknown to timm (did you mean mobilenetv3" in error
        assert "data.dataset 'foldr' is unknown: choose from charades, " in error

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("data: [", "is not readable YAML"),
            ("\x00", "is not readable YAML"),
            ("", "must hold sections"),
            ("version: 3\ndata: 3", "missing key train"),
        ],
    )
    def test_a_broken_file(self, stpa, workspace, text, reason):
        workspace.params.write_text(text)
        assert stpa("doctor", "--workspace", workspace.root).code == 1
        assert reason in stpa("retrain", "--workspace", workspace.root).error

    def test_a_folder_that_is_no_workspace(self, stpa, tmp_path):
        for command in (*COMMANDS_IN_ORDER, "retrain", "rollback", "ui"):
            error = stpa(command, "--workspace", tmp_path).error
            assert f"{tmp_path} is no workspace, for it has no params.yaml" in error
            assert "stpa init FOLDER" in error
        assert list(tmp_path.iterdir()) == []

    def test_init_from_a_missing_file_makes_nothing(self, stpa, tmp_path):
        error = stpa("init", tmp_path / "new", "--params", tmp_path / "no.yaml").error
        assert "no.yaml does not exist: give the path of a params file" in error
        assert not (tmp_path / "new").exists()


def spoil(workspace: Workspace) -> None:
    """Make params.yaml one of an earlier format, with errors, and without what trains."""
    params = read_params(workspace.params)
    for section in ("version", "model", "evaluate"):
        del params[section]
    params["train"]["batch_size"] = "many"
    params["compute"] |= {"gpus": 8}
    params["data"]["max_quarantined"] = 7
    params["promotion"]["rules"] = ["luck"]
    params["optical_flow"]["estimator"] = 3
    workspace.params.write_text(yaml.safe_dump(params, allow_unicode=True), encoding="utf-8")


class TestSpoiltParams:
    """What needs little of params.yaml works whatever is wrong with the rest."""

    @pytest.fixture
    def spoilt(self, workspace: Workspace) -> Workspace:
        spoil(workspace)
        return workspace

    def test_what_needs_all_of_it_does_not_start(self, stpa, spoilt):
        for command in (*COMMANDS_IN_ORDER, "retrain"):
            error = stpa(command, "--workspace", spoilt.root).error
            assert error.endswith(f"run `stpa init {spoilt.root} --upgrade`")

    @pytest.mark.parametrize(
        ("command", "told"),
        [
            (["rollback"], "has no champion: train and promote one with `stpa retrain`"),
            (["predict", "no.avi"], "there is no video file no.avi"),
            (["data", "restore", "0" * 32], f"Run with id={'0' * 32} not found"),
        ],
    )
    def test_what_needs_little_of_it_gets_to_its_work(self, stpa, spoilt, command, told):
        assert stpa(*command, "--workspace", spoilt.root).error.endswith(told)

    def test_pages_get_to_their_work(self, stpa, spoilt):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            arguments = ("ui", "--workspace", spoilt.root, "--mlflow-port", str(port))
            assert f"port {port} of 127.0.0.1 is in use" in stpa(*arguments).error

    def test_what_they_need_is_checked(self, stpa, spoilt):
        params = read_params(spoilt.params)
        params["tracking"]["uri"] = 5
        params["data"] = {"decode_deadline_seconds": 0}
        spoilt.params.write_text(yaml.safe_dump(params), encoding="utf-8")
        error = stpa("predict", "no.avi", "--workspace", spoilt.root).error
        assert "params.yaml has 2 error(s): " in error
        assert "tracking.uri is 5" in error
        assert "data.decode_deadline_seconds is 0" in error

    def test_a_champion_serves_and_its_data_come_back(
        self, stpa, retrained, source, tmp_path, caplog
    ):
        workspace = Workspace(tmp_path / "copy")
        shutil.copytree(retrained.root, workspace.root)
        spoil(workspace)
        video = source / CLASSES[0] / "v_g00_c01.avi"
        done = stpa("predict", video, "--workspace", workspace.root)
        assert done.code == 0, done.err
        assert "by small-fusion version 1" in done.out
        [run] = workspace.runs.glob("train/rgb-stpa-*/done.json")
        run_id = read_json(run)["run_id"]
        shutil.rmtree(workspace.videos)
        done = stpa("data", "restore", run_id, "--workspace", workspace.root)
        assert done.code == 0, done.err
        assert "data.max_quarantined was 0.05 for the data restored, and is 7" in caplog.text
        assert (workspace.videos / CLASSES[0] / video.name).exists()


class TestOrder:
    @pytest.mark.parametrize("command", COMMANDS_IN_ORDER[1:])
    def test_before_ingest_every_stage_asks_for_it(self, stpa, workspace, command):
        before = content(workspace.root)
        assert stpa(command, "--workspace", workspace.root).error.endswith(
            "run `stpa ingest` first"
        )
        assert content(workspace.root) == before
        assert not workspace.mlflow.exists()

    @pytest.mark.parametrize("command", COMMANDS_IN_ORDER[2:])
    def test_before_extraction_every_stage_asks_for_it(self, stpa, ingested, command):
        error = stpa(command, "--workspace", ingested.root).error
        assert error.endswith("run `stpa extract` first")

    @pytest.mark.parametrize(
        ("changed", "command", "advice"),
        [
            ({"train": {"seed": 1}}, "evaluate", "run `stpa train` first"),
            ({"train": {"seed": 1}}, "promote", "run `stpa train` first"),
            ({"evaluate": {"sweep": [2, 3]}}, "fuse", "run `stpa evaluate` first"),
            ({"evaluate": {"sweep": [2, 3]}}, "promote", "run `stpa evaluate` first"),
        ],
    )
    def test_results_of_other_parameters_do_not_count(
        self, stpa, retrained, tmp_path, changed, command, advice
    ):
        workspace = Workspace(tmp_path / "copy")
        shutil.copytree(retrained.root, workspace.root)
        make_workspace(workspace.root, small_params(**changed))
        before = content(workspace.root)
        assert stpa(command, "--workspace", workspace.root).error.endswith(advice)
        assert content(workspace.root) == before


class TestPredict:
    @pytest.fixture
    def video(self, source: Path) -> Path:
        return source / CLASSES[0] / "v_g00_c01.avi"

    def test_a_missing_file(self, stpa, workspace, tmp_path):
        error = stpa("predict", tmp_path / "no.avi", "--workspace", workspace.root).error
        assert error.endswith("there is no video file " + str(tmp_path / "no.avi"))

    def test_a_file_that_is_no_video(self, stpa, retrained):
        error = stpa("predict", retrained.params, "--workspace", retrained.root).error
        assert "params.yaml cannot be classified: does not decode" in error

    def test_no_champion_yet(self, stpa, workspace, video):
        before = content(workspace.root)
        for arguments in (["predict", video], ["rollback"]):
            error = stpa(*arguments, "--workspace", workspace.root).error
            assert error.endswith("has no champion: train and promote one with `stpa retrain`")
        assert content(workspace.root) == before

    def test_no_champion_before_the_first(self, stpa, retrained):
        error = stpa("rollback", "--workspace", retrained.root).error
        assert error.endswith("no version before champion 1: promote another one first")


class TestServices:
    def test_a_ray_cluster_that_nobody_runs(self, stpa, ingested):
        before = content(ingested.root)
        error = stpa("extract", "--workspace", ingested.root).error
        assert "no Ray cluster at 127.0.0.1:" in error
        assert "correct compute.address or RAY_ADDRESS" in error
        assert content(ingested.root) == before

    def test_a_retraining_looks_for_its_cluster_before_it_ingests(self, stpa, source, tmp_path):
        params = small_params(compute={"address": f"127.0.0.1:{free_port()}"})
        workspace = make_workspace(tmp_path / "new", params)
        error = stpa("retrain", source, "--workspace", workspace.root).error
        assert "no Ray cluster at 127.0.0.1:" in error
        assert not workspace.videos.exists()

    def test_an_mlflow_server_that_nobody_runs(self, stpa, ingested):
        error = stpa("rollback", "--workspace", ingested.root).error
        assert "no MLflow server answers at http://127.0.0.1:" in error
        assert error.endswith("start it or change tracking.uri")

    @pytest.mark.parametrize("page", ["mlflow", "prefect"])
    def test_a_port_in_use(self, stpa, workspace, page):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            error = stpa("ui", "--workspace", workspace.root, f"--{page}-port", str(port)).error
        assert error == f"error: port {port} of 127.0.0.1 is in use: give another one by " + (
            f"--{page}-port"
        )


class TestProcess:
    """What only a process of its own shows: all that reaches its stderr."""

    def test_a_traceback_comes_with_debug_alone(self, tmp_path):
        arguments = ["rollback", "--workspace", tmp_path]
        quiet = run_stpa(*arguments)
        assert (quiet.returncode, quiet.stdout) == (1, "")
        assert len(quiet.stderr.splitlines()) == 1
        loud = run_stpa("--debug", *arguments)
        assert loud.returncode == 1
        assert "Traceback (most recent call last)" in loud.stderr

    @pytest.mark.slow
    def test_the_flow_adds_no_noise_of_prefect(self, workspace, tmp_path):
        done = run_stpa("retrain", tmp_path / "nowhere", "--workspace", workspace.root)
        assert (done.returncode, done.stdout) == (1, "")
        line, *noise = done.stderr.splitlines()
        assert noise == []
        assert "nowhere is not a folder: name the one that holds the videos" in line


class TestFullDisk:
    """A small disk in a mount namespace of its own, which any user may make."""

    def run_on(
        self, size: str, tmp_path: Path, params: dict[str, Any], *arguments: str | Path
    ) -> tuple[Outcome, set[str]]:
        """Run a command in a new workspace on a disk of `size`; return the files then on it."""
        disk, template, listing = (tmp_path / name for name in ("disk", "template", "listing"))
        disk.mkdir()
        make_workspace(template, params)
        script = (
            'mount -t tmpfs -o size="$1" tmpfs "$2" && cp -r "$3"/. "$2" && cd "$2" || exit 77\n'
            'listing="$4"; shift 4; "$@"; code=$?; find . -type f > "$listing"; exit $code'
        )
        command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
        try:
            done = subprocess.run(
                [*command, size, disk, template, listing, STPA, *arguments],
                capture_output=True,
                text=True,
            )
        except FileNotFoundError:
            pytest.skip("needs the program unshare")
        if not listing.exists():
            pytest.skip(f"cannot mount a small disk here: {done.stderr.strip()}")
        files = set(listing.read_text().splitlines())
        files = {file for file in files if not file.startswith("./logs/")}  # of the command itself
        return Outcome(done.returncode, done.stdout, done.stderr), files

    def test_videos_that_do_not_fit_are_not_copied(self, tmp_path, source):
        outcome, files = self.run_on("40k", tmp_path, small_params(), "ingest", source)
        assert "GB free: make room or take another workspace" in outcome.error
        assert files == {"./params.yaml", "./dvc.yaml", "./.lock"}

    def test_a_flow_whose_records_do_not_fit_does_not_start(self, tmp_path, source):
        outcome, files = self.run_on("1m", tmp_path, small_params(), "retrain", source)
        assert "no space is left for " in outcome.error
        assert files == {"./params.yaml", "./dvc.yaml", "./.lock"}

    def test_generated_clips_that_do_not_fit_leave_only_whole_ones(self, tmp_path):
        clips = read_params(preset_path("demo"))["data"]["synthetic"]
        clips |= {"num_groups": 2, "clips_per_group": 1, "num_frames": 16, "size_px": 64}
        params = small_params(data={"dataset": "synthetic", "synthetic": clips})
        outcome, files = self.run_on("100k", tmp_path, params, "ingest")
        assert "no space is left" in outcome.error
        assert [file for file in files if file.endswith(".avi")]
        assert not [file for file in files if ".partial" in file or "manifest" in file]
