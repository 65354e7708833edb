import platform
import subprocess
from pathlib import Path

import pytest

from stpa.data.versioning import DataVersion
from stpa.registry.lineage import collect_lineage

DATA = DataVersion(videos="a1", manifest="b2", optical_flow="c3")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text("a: 1\n")
    _git(tmp_path, "init", "--quiet")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "--quiet", "-m", "start")
    return tmp_path


def test_a_clean_commit_is_named(repository: Path):
    (repository / "untracked").touch()
    lineage = collect_lineage(DATA, repository)
    assert lineage["git.commit"] == _git(repository, "rev-parse", "HEAD")
    assert lineage["git.dirty"] == "false"


def test_a_changed_file_is_told(repository: Path):
    (repository / "params.yaml").write_text("a: 2\n")
    assert collect_lineage(DATA, repository)["git.dirty"] == "true"


def test_outside_git_the_code_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    lineage = collect_lineage(DATA, tmp_path)
    assert (lineage["git.commit"], lineage["git.dirty"]) == ("unknown", "unknown")


def test_without_git_the_code_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert collect_lineage(DATA, tmp_path)["git.commit"] == "unknown"


def test_the_data_and_the_environment_are_named(tmp_path: Path):
    lineage = collect_lineage(DATA, tmp_path)
    data = {name: value for name, value in lineage.items() if name.startswith("data.")}
    assert data == {
        "data.version": DATA.id,
        "data.videos": "a1",
        "data.manifest": "b2",
        "data.optical_flow": "c3",
    }
    assert lineage["environment.python"] == platform.python_version()
    assert lineage["environment.torch"][0].isdigit()


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
