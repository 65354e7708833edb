"""When a retraining would change nothing, and when it would."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from stpa.cli.workspace import answer_unchanged
from stpa.errors import BusyError, DataError
from stpa.params import load_config
from stpa.stages import unchanged
from stpa.stages.unchanged import (
    find_unchanged,
    holds_listing,
    read_inputs,
    read_last,
    record_path,
    remember,
)
from stpa.workspace import Workspace
from tests.workspaces import make_workspace, small_params


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "swim").mkdir(parents=True)
    (folder / "swim" / "a.avi").write_text("a")
    return folder


@pytest.fixture
def workspace(tmp_path: Path, source: Path) -> Workspace:
    """A workspace with the record of a retraining from `source`."""
    params = small_params(data={"source": str(source)})
    workspace = make_workspace(tmp_path / "work", params)
    shutil.copytree(source, workspace.videos)
    for path in (workspace.report, workspace.summary, workspace.manifest, model(workspace)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for folder in (workspace.optical_flow, workspace.mlflow):
        folder.mkdir()
    (workspace.root / "data" / "videos.dvc").write_text("outs: 1")
    config = load_config(workspace.params)
    inputs = read_inputs(workspace, None)
    remember(workspace, config, inputs, [model(workspace)], "Promoted")
    return workspace


def model(workspace: Workspace) -> Path:
    return workspace.runs / "train" / "x" / "model"


def set_params(workspace: Workspace, section: str, **values: object) -> None:
    params = yaml.safe_load(workspace.params.read_text(encoding="utf-8"))
    params[section] |= values
    workspace.params.write_text(yaml.safe_dump(params), encoding="utf-8")


def test_nothing_new_is_unchanged_also_after_a_move(workspace, tmp_path):
    last = find_unchanged(workspace, None)
    assert last is not None
    assert last.decision == "Promoted"
    moved = Workspace(workspace.root.rename(tmp_path / "moved"))
    assert find_unchanged(moved, None) == last


def test_the_workspaces_own_videos_are_known_too(workspace):
    assert find_unchanged(workspace, workspace.videos) is not None


def test_where_params_tell_matters_not(workspace):
    set_params(workspace, "notices", file="told.jsonl")
    assert find_unchanged(workspace, None) is not None


CHANGES: dict[str, Callable[[Workspace, Path], object]] = {
    "a video comes": lambda _, source: (source / "swim" / "b.avi").touch(),
    "a video goes": lambda _, source: (source / "swim" / "a.avi").unlink(),
    "a video grows": lambda _, source: (source / "swim" / "a.avi").write_text("aa"),
    "a video is written": lambda _, source: os.utime(source / "swim" / "a.avi", (1, 1)),
    "a parameter": lambda workspace, _: set_params(workspace, "train", seed=7),
    "other data are restored": lambda workspace, _: (
        workspace.root / "data" / "videos.dvc"
    ).write_text("outs: 2"),
    "a network is removed": lambda workspace, _: model(workspace).unlink(),
    "the report is removed": lambda workspace, _: workspace.report.unlink(),
    "the record is removed": lambda workspace, _: record_path(workspace).unlink(),
    "the record is torn": lambda workspace, _: record_path(workspace).write_text("{"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_it_is_changed_when(change, workspace, source):
    change(workspace, source)
    assert find_unchanged(workspace, None) is None


def test_it_is_changed_when_the_code_is(workspace, monkeypatch):
    monkeypatch.setattr(unchanged, "code_version", lambda: "another")
    assert find_unchanged(workspace, None) is None


def test_a_source_that_was_moved_is_the_same_dataset(workspace, source, tmp_path):
    assert find_unchanged(workspace, source.rename(tmp_path / "moved")) is not None


def test_another_source_is_another_dataset(workspace, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    assert find_unchanged(workspace, other) is None


def test_a_source_that_is_missing_is_for_the_retraining_to_report(workspace, source):
    shutil.rmtree(source)
    assert find_unchanged(workspace, None) is None
    with pytest.raises(DataError, match="is not a folder"):
        read_inputs(workspace, None)


def test_at_work_it_is_left_to_the_command_which_may_follow_a_job(workspace, monkeypatch, capsys):
    assert answer_unchanged(workspace, None)
    assert capsys.readouterr().out.startswith("unchanged: videos, parameters and code are those")

    @contextmanager
    def refuse(_workspace: Workspace) -> Iterator[None]:
        raise BusyError("another process is at work")
        yield

    monkeypatch.setattr("stpa.cli.workspace.exclusive", refuse)
    assert not answer_unchanged(workspace, None)


def test_what_comes_while_a_retraining_goes_on_is_for_the_next_one(workspace, source):
    inputs = read_inputs(workspace, None)
    (source / "swim" / "late.avi").touch()
    remember(workspace, load_config(workspace.params), inputs, [model(workspace)], "Promoted")
    assert not holds_listing(workspace, read_inputs(workspace, None))
    assert read_last(workspace) is not None
