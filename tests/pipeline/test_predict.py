"""Many videos by a registered model: from the command line, and from a program."""

import json
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

import stpa
from stpa.serving.result_file import read_rows
from stpa.serving.rows import columns_of
from stpa.workspace import Workspace
from tests.workspaces import CLASSES, REPOSITORY, kill_stpa, run_stpa, write_video

COLUMNS = columns_of(5)
REASONS = {
    "cut_off.mp4": "does not decode (Invalid data found when processing input)",
    "huge.avi": "has frames of 42.0 million pixels, over 40 (data.max_megapixels): "
    "make them smaller",
    "playlist.avi": "does not decode (Invalid argument)",
    "text.avi": "does not decode (Invalid data found when processing input)",
}


@pytest.fixture
def videos(source: Path, tmp_path: Path) -> Path:
    """A folder with the videos that were learnt from."""
    return Path(shutil.copytree(source, tmp_path / "videos"))


@pytest.fixture(scope="session")
def batch(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twenty files: 16 videos, 2 damaged ones, a huge one and a hostile one."""
    folder = tmp_path_factory.mktemp("batch")
    for copy in ("first", "second"):
        shutil.copytree(source, folder / copy)
    write_video(folder / "cut_off.mp4", seed=0, num_frames=60)
    whole = (folder / "cut_off.mp4").read_bytes()
    (folder / "cut_off.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "text.avi").write_text("no video")
    write_huge(folder / "huge.avi")
    secret = next(source.rglob("*.avi"))
    (folder / "playlist.avi").write_text(f"ffconcat version 1.0\nfile '{secret}'\n")
    return folder


def write_huge(path: Path, size: int = 6480) -> None:
    planes = np.zeros((size * 3 // 2, size), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = size, size
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode())


def rows_of(path: Path) -> dict[str, dict]:
    rows = read_rows(path, COLUMNS)
    assert len({row["path"] for row in rows}) == len(rows), "a video has two rows"
    return {row["path"]: row for row in rows}


def test_a_killed_batch_goes_on_where_it_was(retrained: Workspace, videos: Path, tmp_path: Path):
    out = tmp_path / "out.csv"
    arguments = ("predict", videos, "--out", out, "--workspace", retrained.root)
    kill_stpa(*arguments, when=lambda: out.exists() and len(read_rows(out, COLUMNS)) >= 2)
    before = rows_of(out)
    assert 2 <= len(before) < 8
    done = run_stpa(*arguments)
    assert done.returncode == 0, done.stderr
    assert f"8 of 8 videos have an answer, {len(before)} from before" in done.stderr
    after = rows_of(out)
    assert after.items() >= before.items()
    assert after.keys() == {str(path) for path in videos.rglob("*.avi")}
    assert {row["label"] for row in after.values()} <= set(CLASSES)


def test_each_bad_video_of_twenty_is_a_row_with_its_reason(retrained: Workspace, batch: Path):
    done = run_stpa("predict", batch, "--json", "--workspace", retrained.root)
    assert done.returncode == 1
    assert "16 of 20 videos have an answer; 4 could not be read" in done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert sum(row["label"] in CLASSES for row in rows) == 16
    assert {Path(row["path"]).name: row["error"] for row in rows if row["error"]} == REASONS


def test_a_program_has_an_answer_or_a_reason_for_each_of_twenty(retrained: Workspace, batch: Path):
    with closing(stpa.load(retrained.root)) as classifier:
        processes = set(psutil.Process().children())
        results = classifier.predict(sorted(path for path in batch.rglob("*.*")))
        assert processes <= set(psutil.Process().children()), "a process was started again"
    assert sum(result.label in CLASSES for result in results) == 16
    assert {Path(each.path).name: each.error for each in results if each.error} == REASONS


def test_what_a_list_names_wrongly_is_a_row(retrained: Workspace, videos: Path, tmp_path: Path):
    listed = tmp_path / "list.txt"
    listed.write_text("videos\ngone.avi\n")
    done = run_stpa("predict", videos, listed, "--json", "--workspace", retrained.root)
    assert done.returncode == 1
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {Path(row["path"]).name: row["error"] for row in rows if row["error"]} == {
        "gone.avi": "there is no such file",
        "videos": "is not a file",
    }


def test_several_videos_are_a_table_with_pictures_in_a_folder(
    retrained: Workspace, videos: Path, tmp_path: Path
):
    pictures = tmp_path / "pictures"
    pattern = videos / "*" / "v_g00_*"
    options = ("--picture", pictures, "--threshold", "1", "--workspace", retrained.root)
    done = run_stpa("predict", pattern, *options)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in pictures.iterdir()) == [
        "v_g00_c01-2.png",
        "v_g00_c01.png",
    ]
    assert not any(name in done.stdout.replace(str(videos), "") for name in ("probable", "other"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["no.avi"], "there is no video file no.avi"),
        ([".", "--out", "r.txt"], "end its name in .csv, .jsonl, .parquet"),
        ([".", "--model", "small"], "'small' names no registered model: give NAME@ALIAS"),
        ([".", "--model", "a@b", "--challenger"], "name two models: give one of them"),
        ([".", "--picture", "a.png", "--no-picture"], "contradict each other"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_2(retrained, options, told, tmp_path):
    done = run_stpa("predict", *options, "--workspace", retrained.root, cwd=tmp_path)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert told in line


def test_a_dry_run_lists_what_is_left(retrained: Workspace, videos: Path, tmp_path: Path):
    first, *others = sorted(videos.rglob("*.avi"))
    arguments = ("--out", tmp_path / "out.parquet", "--workspace", retrained.root)
    assert run_stpa("predict", first, *arguments).returncode == 0
    done = run_stpa("predict", videos, "--dry-run", *arguments)
    assert done.stdout.splitlines() == list(map(str, others))


def test_a_program_loads_it_by_address_workspace_or_folder(
    retrained: Workspace, videos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("HOME", str(tmp_path))
    [video, *_] = sorted(videos.rglob("*.avi"))
    uri = f"sqlite:///{retrained.mlflow.resolve() / 'mlflow.db'}"
    address = "models:/small-fusion@champion"
    with (
        closing(stpa.load(address, tracking_uri=uri)) as by_address,
        closing(stpa.load(retrained.root)) as by_workspace,
    ):
        assert by_address.model == by_workspace.model == "small-fusion/1"
        [folder] = (tmp_path / ".cache" / "stpa" / "registered").glob("*/*")
        with closing(stpa.load(folder)) as by_folder:
            results = [each.predict(video) for each in (by_address, by_workspace, by_folder)]
    assert results[0] == results[1] == results[2]
    assert results[0][0].error is None


@pytest.fixture
def current_folder(
    retrained: Workspace, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """What README's section supposes: my_project, clip.mp4, and a folder of videos at home."""
    (tmp_path / "my_project").symlink_to(retrained.root)
    first, *_ = sorted(videos.rglob("*.avi"))
    shutil.copy(first, tmp_path / "clip.mp4")
    videos.rename(tmp_path / "incoming")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def section() -> str:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    return text.partition("\n## Predict many videos\n")[2].partition("\n## ")[0]


def test_readmes_command_runs_as_it_stands(current_folder: Path, section: str):
    _, command, *_ = section.split("```\n")
    done = subprocess.run(["bash", "-ec", command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(rows_of(current_folder / "answers.csv")) == 9


@pytest.mark.usefixtures("current_folder")
def test_readmes_program_runs_as_it_stands(section: str, tmp_path: Path):
    """Without a main guard, and with one file that is not there."""
    _, _, program = section.partition("```python\n")
    (tmp_path / "program.py").write_text(program.partition("```")[0])
    done = subprocess.run([sys.executable, "program.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [clip, other] = done.stdout.splitlines()
    assert clip.startswith("clip.mp4 ")
    assert clip.endswith(" None")
    assert other == "other.mp4  None {} there is no such file"
