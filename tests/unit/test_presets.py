"""The packaged presets."""

import pytest

from stpa import presets
from stpa.errors import ConfigError
from stpa.presets import DEFAULT, NAMES, preset_name, preset_path, preset_purposes
from tests.workspaces import REPOSITORY


def test_every_file_is_listed_with_what_it_is_for():
    files = {path.stem for path in (REPOSITORY / "stpa" / "presets").glob("*.yaml")}
    assert files == set(NAMES)
    assert DEFAULT in NAMES
    for name, purpose in preset_purposes().items():
        first, *_ = preset_path(name).read_text(encoding="utf-8").splitlines()
        assert first == f"# {purpose}"
        assert purpose.endswith(".")


def test_the_repositorys_params_file_is_the_preset_standard():
    assert preset_path("standard").samefile(REPOSITORY / "params.yaml")
    assert preset_name(preset_path("standard")) == "standard"
    assert preset_name(REPOSITORY / "params.yaml") is None


def test_an_unknown_preset_is_told_with_the_known_ones():
    with pytest.raises(
        ConfigError, match=r"preset '\.\./x' is unknown: choose from small, quick, stand"
    ):
        preset_path("../x")


def test_no_preset_names_a_file_of_its_own(tmp_path):
    for name in NAMES:
        text = presets.preset_path(name).read_text(encoding="utf-8")
        assert "../" not in text
        assert "shared" not in text
