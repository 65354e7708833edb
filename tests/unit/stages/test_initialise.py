"""Making workspaces, and changing the parameters of those that are there."""

import re
from pathlib import Path

import pytest
import yaml

from stpa.errors import ConfigError
from stpa.params import load_config, read_params
from stpa.presets import NAMES, preset_path
from stpa.stages import initialise as stage
from stpa.stages.initialise import PIPELINE, ReplacementError, initialise
from stpa.workspace import Workspace
from tests.workspaces import REPOSITORY, write_video


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace to be made."""
    return Workspace(tmp_path / "project")


def edit(workspace: Workspace, old: str, new: str) -> str:
    """Change params.yaml as a person would; return the text."""
    text = workspace.params.read_text(encoding="utf-8")
    assert old in text
    workspace.params.write_text(text.replace(old, new), encoding="utf-8")
    return text.replace(old, new)


def own_params(folder: Path, text: str) -> Path:
    path = folder / "own.yaml"
    path.write_text(text, encoding="utf-8")
    return path


class TestNewWorkspace:
    @pytest.mark.parametrize("name", NAMES)
    def test_has_the_whole_preset_and_says_who_made_it(self, workspace, name, monkeypatch):
        monkeypatch.setattr(stage, "package_version", lambda: "1.2.3")
        assert initialise(workspace, preset_path(name)).made_from == f"preset {name}"
        head, purpose, *_ = workspace.params.read_text(encoding="utf-8").splitlines()
        assert head.startswith(f"# Made from preset {name} by stpa 1.2.3; ")
        assert purpose == preset_path(name).read_text(encoding="utf-8").splitlines()[0]
        values = read_params(preset_path(name))
        assert "extends" not in values
        estimator = load_config(workspace.params).optical_flow.estimator
        values["optical_flow"]["estimator"] = estimator
        assert read_params(workspace.params) == values
        assert (workspace.root / "dvc.yaml").read_bytes() == (REPOSITORY / "dvc.yaml").read_bytes()

    def test_has_absolute_paths(self, workspace, tmp_path):
        (tmp_path / "w.safetensors").touch()
        params = own_params(
            tmp_path,
            f"extends: {preset_path('small')}\nmodel: {{pretrained: w.safetensors}}\n"
            "data: {source: videos}  # mine\n",
        )
        initialise(workspace, params)
        text = workspace.params.read_text(encoding="utf-8")
        assert f"  pretrained: {tmp_path}/w.safetensors " in text
        assert f"  source: {tmp_path}/videos " in text
        assert re.search("^data: +# mine$", text, re.MULTILINE)

    def test_is_not_made_from_a_file_with_errors(self, workspace, tmp_path):
        params = own_params(tmp_path, f"extends: {preset_path('small')}\ntrain: {{seed: x}}\n")
        with pytest.raises(ConfigError, match=r"own.yaml has 1 error\(s\): train.seed is 'x'"):
            initialise(workspace, params)
        assert not workspace.root.exists()

    def test_is_not_made_in_a_folder_of_videos(self, workspace, tmp_path):
        write_video(workspace.root / "swim" / "A.MP4", seed=0)
        with pytest.raises(ConfigError, match=r"project holds videos \(swim/A.MP4\), but a work"):
            initialise(workspace, preset_path("small"))
        assert [path.name for path in workspace.root.iterdir()] == ["swim"]

    def test_is_made_in_a_repository_that_holds_a_video_among_other_things(self, workspace):
        (workspace.root / ".git").mkdir(parents=True)
        write_video(workspace.root / "docs" / "demo.mp4", seed=0)
        assert initialise(workspace, preset_path("small")).made_from

    def test_is_not_made_of_a_file(self, workspace):
        workspace.root.touch()
        with pytest.raises(ConfigError, match="project is a file: name a folder"):
            initialise(workspace, preset_path("small"))

    def test_leaves_a_pipeline_of_someone_else_alone_unless_told_to_replace_it(self, workspace):
        workspace.root.mkdir()
        pipeline = workspace.root / "dvc.yaml"
        pipeline.write_text("stages: {}")
        with pytest.raises(ConfigError, match=r"dvc.yaml is not that of stpa: take another fol"):
            initialise(workspace, preset_path("small"))
        assert [path.name for path in workspace.root.iterdir()] == ["dvc.yaml"]
        [backup] = initialise(workspace, preset_path("small"), replace=True).backups
        assert backup.read_text() == "stages: {}"
        assert pipeline.read_bytes() == PIPELINE.read_bytes()


class TestExistingWorkspace:
    def test_with_the_same_values_stays_as_it_is(self, workspace):
        initialise(workspace, preset_path("small"))
        text = edit(workspace, "# more steps per epoch", "# my own words")
        done = initialise(workspace, preset_path("small"))
        assert (done.made_from, done.changes, done.backups) == (None, (), ())
        assert workspace.params.read_text(encoding="utf-8") == text

    def test_with_other_values_is_only_told_of_them(self, workspace):
        initialise(workspace, preset_path("small"))
        edit(workspace, "batch_size: 8 ", "batch_size: 16 ")
        text = edit(workspace, "  source: null", "  source: /mine\n  note: 3")
        with pytest.raises(
            ReplacementError, match=r"other values for 3 key\(s\): --replace"
        ) as caught:
            initialise(workspace, preset_path("small"))
        assert [(each.key, each.old, each.new) for each in caught.value.changes] == [
            ("data.source", '"/mine"', "null"),
            ("data.note", "3", "(absent)"),
            ("train.batch_size", "16", "8"),
        ]
        assert workspace.params.read_text(encoding="utf-8") == text
        assert {path.name for path in workspace.root.iterdir()} == {"params.yaml", "dvc.yaml"}

    def test_is_replaced_on_demand_and_every_old_file_kept(self, workspace):
        initialise(workspace, preset_path("small"))
        texts = []
        for number in (1, 2):
            texts.append(edit(workspace, "batch_size: 8 ", f"batch_size: {number} "))
            done = initialise(workspace, preset_path("small"), replace=True)
            assert [change.key for change in done.changes] == ["train.batch_size"]
            assert [path.name for path in done.backups] == [f"params.yaml.{number}"]
            assert load_config(workspace.params).train.batch_size == 8
        for number, text in enumerate(texts, 1):
            assert (workspace.root / f"params.yaml.{number}").read_text(encoding="utf-8") == text

    def test_takes_the_values_of_a_file_that_extends_its_own(self, workspace):
        initialise(workspace, preset_path("small"))
        before = edit(workspace, "seed: 0", "seed: 7   # lucky")
        found = workspace.root / "search-rgb-stpa.yaml"
        found.write_text(
            "# Trial 3.\nextends: params.yaml\ntrain: {streams: {rgb: {learning_rate: 0.02}}}\n"
        )
        done = initialise(workspace, found)
        [change] = done.changes
        assert (change.key, change.old, change.new) == (
            "train.streams.rgb.learning_rate",
            "0.0001",
            "0.02",
        )
        assert done.backups == ()
        expected = before.replace("learning_rate: 0.0001 ", "learning_rate: 0.02   ", 1)
        assert workspace.params.read_text(encoding="utf-8") == expected
        assert initialise(workspace, found).changes == ()

    def test_is_named_to_a_file_that_states_changes_and_not_of_what(self, workspace):
        initialise(workspace, preset_path("small"))
        changes = own_params(workspace.root, "train: {seed: 1}\nmodel: {num_scales: 2}\n")
        with pytest.raises(ConfigError, match=r"own.yaml has no data, optical_flow, eval") as told:
            initialise(workspace, changes)
        advice = str(told.value).rpartition("`")[0].rpartition("`")[2]
        changes.write_text(f"{advice}\n{changes.read_text()}", encoding="utf-8")
        done = initialise(workspace, changes)
        assert [change.key for change in done.changes] == ["model.num_scales", "train.seed"]

    def test_that_names_no_estimator_does_not_get_one_by_another_key(self, workspace):
        initialise(workspace, preset_path("small"))
        edit(workspace, "estimator: dis", "estimator: auto")
        found = own_params(workspace.root, "extends: params.yaml\ntrain: {seed: 1}\n")
        assert [change.key for change in initialise(workspace, found).changes] == ["train.seed"]

    def test_takes_no_value_with_which_its_own_has_errors(self, workspace):
        initialise(workspace, preset_path("small"))
        before = workspace.params.read_bytes()
        found = own_params(workspace.root, "extends: params.yaml\ntrain: {batch_size: 0}\n")
        with pytest.raises(ConfigError, match=r"train.batch_size is 0"):
            initialise(workspace, found)
        assert workspace.params.read_bytes() == before

    def test_that_is_the_preset_itself_is_not_replaced(self, tmp_path, monkeypatch):
        repository = Workspace(tmp_path)
        values = read_params(preset_path("standard"))
        repository.params.write_text(yaml.safe_dump(values), encoding="utf-8")
        monkeypatch.setattr(stage, "preset_path", lambda _name: repository.params)
        before = repository.params.read_bytes()
        with pytest.raises(ConfigError, match="is the preset standard itself: take another fold"):
            initialise(repository, preset_path("small"), replace=True)
        assert repository.params.read_bytes() == before


def test_dvc_finds_no_stages_within_the_package():
    assert not list((REPOSITORY / "stpa").rglob("dvc.yaml"))
    assert PIPELINE.samefile(REPOSITORY / "dvc.yaml")
