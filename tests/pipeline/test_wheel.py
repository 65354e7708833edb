"""The built package, without the repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stpa.params import read_params
from stpa.presets import NAMES, preset_path
from tests.workspaces import REPOSITORY

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an installed wheel, built from a copy of the repository."""
    source, wheels, target = (tmp_path_factory.mktemp(name) for name in ("source", "wheel", "here"))
    for path in REPOSITORY.iterdir():
        if path.is_file():
            shutil.copy(path, source)
        elif path.name in ("src", "stpa", "flows"):
            shutil.copytree(path, source / path.name, symlinks=True)
    offline = ("--no-deps", "--no-index")
    build = ("wheel", *offline, "--no-build-isolation", "--wheel-dir", wheels, source)
    subprocess.run([*PIP, *build], check=True)
    [wheel] = wheels.iterdir()
    subprocess.run([*PIP, "install", *offline, "--target", target, wheel], check=True)
    return target


@pytest.mark.slow
def test_a_wheel_makes_a_workspace_from_a_preset(installed, tmp_path):
    done = subprocess.run(
        [installed / "bin" / "stpa", "init", "project", "--preset", "demo"],
        env=os.environ | {"PYTHONPATH": str(installed)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    project = tmp_path / "project"
    assert (project / "dvc.yaml").read_bytes() == (REPOSITORY / "dvc.yaml").read_bytes()
    assert read_params(project / "params.yaml") == read_params(preset_path("demo"))
    [metadata] = installed.glob("stpa-*.dist-info")
    version = metadata.stem.removeprefix("stpa-")
    head = (project / "params.yaml").read_text(encoding="utf-8")
    assert head.startswith(f"# Made from preset demo by stpa {version}; ")


def test_a_wheel_has_every_preset_as_a_file_of_its_own(installed):
    files = {path.stem: path for path in (installed / "stpa" / "presets").glob("*.yaml")}
    assert files.keys() == set(NAMES)
    for name, path in files.items():
        assert not path.is_symlink()
        assert path.read_bytes() == preset_path(name).read_bytes()


def test_a_wheel_has_flows_as_files_of_the_package_and_no_package_of_that_name(installed):
    flows = installed / "stpa" / "flows"
    assert (flows / "retrain.py").is_file()
    assert not flows.is_symlink()
    assert not (installed / "flows").exists()
