"""Workspaces of an older stpa, brought up to date."""

import logging
import shutil
from pathlib import Path

import pytest
import yaml

from stpa.config import FORMAT
from stpa.errors import ConfigError
from stpa.params import find_changes, load_config, read_params
from stpa.presets import preset_path
from stpa.stages.initialise import PIPELINE, initialise
from stpa.stages.upgrade import upgrade_workspace
from stpa.workspace import Workspace
from tests.workspaces import REPOSITORY

FORMAT_1 = REPOSITORY / "tests" / "unit" / "params" / "format_1.yaml"


@pytest.fixture
def old(tmp_path: Path) -> Workspace:
    """A workspace as `stpa init` of stpa 0.1.0 wrote it: without comments."""
    workspace = Workspace(tmp_path / "old")
    workspace.root.mkdir()
    values = yaml.safe_load(FORMAT_1.read_text(encoding="utf-8"))
    values["optical_flow"]["estimator"] = "dis"
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    workspace.params.write_text(f"# Made from params.yaml; edit freely.\n{text}", encoding="utf-8")
    shutil.copy(REPOSITORY / "dvc.yaml", workspace.root)
    return workspace


def test_an_upgrade_adds_what_is_new_and_keeps_the_rest(old):
    before, values = old.params.read_bytes(), read_params(old.params)
    with pytest.raises(ConfigError, match=r"--upgrade`$"):
        load_config(old.params)
    done = upgrade_workspace(old)
    assert done.changes[0].key == "version"
    changed = [each.key for each in done.changes if "(absent)" not in (each.old, each.new)]
    assert changed == ["promotion.rules"]  # a list before, with the same rules
    assert done.backups == (old.root / "params.yaml.1",)
    assert done.backups[0].read_bytes() == before
    assert load_config(old.params).version == FORMAT
    assert list(done.changes) == find_changes(values, read_params(old.params))
    text = old.params.read_text(encoding="utf-8")
    assert text.startswith("# Made from params.yaml; edit freely.\n\nversion: 3 ")


def test_what_is_up_to_date_stays_as_it_is(old):
    upgrade_workspace(old)
    before = old.params.read_bytes()
    done = upgrade_workspace(old)
    assert (done.made_from, done.changes, done.backups) == (None, (), ())
    assert old.params.read_bytes() == before


def test_errors_elsewhere_are_told_and_stay(old, caplog):
    text = old.params.read_text(encoding="utf-8")
    text = text.replace("batch_size: 32", "batch_size: many").replace("compute:", "compote:")
    old.params.write_text(text, encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert upgrade_workspace(old).backups
    assert read_params(old.params)["train"]["batch_size"] == "many"
    assert "train.batch_size is 'many'" in caplog.text
    assert "missing key compute" in caplog.text


def test_an_older_pipeline_is_replaced_and_kept(old):
    pipeline = old.root / "dvc.yaml"
    pipeline.write_text("stages: {}")
    _params, backup = upgrade_workspace(old).backups
    assert backup.read_text() == "stages: {}"
    assert pipeline.read_bytes() == PIPELINE.read_bytes()
    pipeline.unlink()
    assert upgrade_workspace(old).backups == ()
    assert pipeline.read_bytes() == PIPELINE.read_bytes()


def test_a_file_of_the_future_stays_as_it_is(old):
    upgrade_workspace(old)
    text = old.params.read_text(encoding="utf-8").replace(f"version: {FORMAT}", "version: 99")
    old.params.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"has format 99, .*: install a newer stpa"):
        upgrade_workspace(old)
    assert old.params.read_text(encoding="utf-8") == text


def test_a_folder_that_is_no_workspace_is_told_as_such(tmp_path):
    with pytest.raises(ConfigError, match="is no workspace, for it has no"):
        upgrade_workspace(Workspace(tmp_path))


def test_init_of_an_old_workspace_names_the_upgrade_or_replaces_it(old):
    before = old.params.read_bytes()
    found = old.root / "search-rgb-stpa.yaml"
    found.write_text("extends: params.yaml\ntrain: {seed: 1}\n")
    for params in (preset_path("small"), found):
        with pytest.raises(ConfigError, match=r"has format 1, .* --upgrade`$"):
            initialise(old, params)
        assert old.params.read_bytes() == before
    [backup] = initialise(old, preset_path("small"), replace=True).backups
    assert backup.read_bytes() == before
    assert load_config(old.params).train.batch_size == 8


def test_an_old_params_file_makes_a_workspace_of_the_current_format(tmp_path):
    workspace = Workspace(tmp_path / "new")
    initialise(workspace, FORMAT_1)
    assert load_config(workspace.params).version == FORMAT
