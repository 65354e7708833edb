"""What the installed package makes importable, in the environment that the tests run in."""

import os
import subprocess
import sys
from pathlib import Path

from tests.workspaces import REPOSITORY

MOST_LINES = 400


def run_python(code: str, folder: Path) -> str:
    """Run `code` as in a notebook: in `folder`, which comes first on the path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.strip()


def test_no_module_is_too_long_to_be_read_at_once():
    modules = [path for folder in ("stpa", "flows") for path in (REPOSITORY / folder).rglob("*.py")]
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules}
    assert len(lengths) > 200
    assert {path for path, length in lengths.items() if length > MOST_LINES} == set()


def test_a_persons_folders_named_stpa_and_flows_hide_nothing_and_stay_theirs(tmp_path):
    (tmp_path / "stpa" / "data").mkdir(parents=True)  # as in a clone
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "mine.py").touch()
    code = "import flows.mine, stpa.data.versioning, stpa.flows; print(flows.mine.__file__)"
    assert run_python(code, tmp_path) == str(tmp_path / "flows" / "mine.py")


def test_no_folder_of_the_repository_but_the_package_is_importable_elsewhere(tmp_path):
    code = """
from importlib.util import find_spec
print(*(name for name in ("stpa", "flows", "tests", "benchmarks", "docs") if find_spec(name)))
"""
    assert run_python(code, tmp_path) == "stpa"
