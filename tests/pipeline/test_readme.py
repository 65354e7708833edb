"""README's commands, word for word, as a newcomer runs them."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import yaml
from safetensors.torch import save_file
from typer.main import get_command

from stpa.cli import app
from tests.workspaces import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
QUICK = {
    "input_size": 64,
    "short_side": 72,
    "streams": {"rgb": {"epochs": 1}, "flow": {"epochs": 1}},
}
"""What is changed of the preset, to train for seconds: by `stpa init`, between two commands."""


def blocks(heading: str) -> list[list[str]]:
    """Return the lines of each block of code below a heading."""
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [block.splitlines() for block in section.split("```\n")[1::2]]


@pytest.fixture
def fresh_stpa(tmp_path: Path) -> Iterator[Path]:
    """Make an environment in a fresh clone, and give the program that it puts on the path."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", REPOSITORY, clone], check=True)
    setup, *_ = blocks("Your own videos")
    script = "\n".join([*setup, "command -v stpa"])
    made = subprocess.run(["bash", "-ec", script], cwd=clone, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    program = clone / ".venv" / "bin" / "stpa"
    assert made.stdout.splitlines()[-1] == str(program)
    yield program
    shutil.rmtree(clone)  # some 7 GB


@pytest.fixture
def home(tmp_path: Path, source: Path, fresh_stpa: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with ~/my_videos, with `stpa` on the PATH, and with weights fetched before."""
    folder = tmp_path / "home"
    shutil.copytree(source, folder / "my_videos")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("PATH", f"{fresh_stpa.parent}:/usr/local/bin:/usr/bin:/bin")
    monkeypatch.setenv("HF_HOME", str(folder / "huggingface"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    keep_weights(folder / "huggingface" / "hub", "mobilenetv2_100")
    return folder


def keep_weights(cache: Path, name: str) -> None:
    """Write weights, drawn at random, where Hugging Face's library keeps what it has fetched."""
    cnn: Any = timm.create_model(name)
    folder = cache / f"models--{cnn.pretrained_cfg['hf_hub_id'].replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    save_file(cnn.state_dict(), snapshot / "model.safetensors")


@pytest.mark.slow
def test_own_videos_are_judged_by_its_first_commands_in_any_folder(
    home: Path, fresh_stpa: Path, trapped: Path, imported: Path
) -> None:
    _setup, [init, *others], *_ = blocks("Your own videos")
    subprocess.run(["bash", "-ec", init], check=True)
    quick = home / "quick.yaml"
    quick.write_text(
        yaml.safe_dump({"extends": f"{trapped}/my_project/params.yaml", "train": QUICK})
    )
    subprocess.run([fresh_stpa, "init", "my_project", "--params", quick], check=True)
    for command in others:
        done = subprocess.run(["bash", "-ec", command], capture_output=True, text=True)
        assert not imported.exists(), imported.read_text()
        assert done.returncode == 0, done.stderr
    report = trapped / "my_project" / "report" / "index.html"
    text = report.read_text(encoding="utf-8")
    assert all(f"<td>{head}</td>" in text for head in ("stpa", "tsn"))


@pytest.mark.parametrize(
    "path", ["README.md", *(f"docs/{p.name}" for p in REPOSITORY.glob("docs/*.md"))]
)
def test_commands_that_are_named_exist(path: str) -> None:
    text = (REPOSITORY / path).read_text(encoding="utf-8")
    known = get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]
    named = set(re.findall(r"(?:`|^)stpa ([a-z]+)", text, re.MULTILINE))
    assert named <= known.keys()
