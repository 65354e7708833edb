"""`stpa init` on the command line."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stpa import cli
from stpa.config import FORMAT
from stpa.presets import NAMES, preset_purposes

Run = Callable[..., tuple[int, list[str], list[str]]]


@pytest.fixture
def stpa(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line; return its exit status, and the lines of its output and errors."""

    def run(*arguments: str | Path) -> tuple[int, list[str], list[str]]:
        monkeypatch.setattr(sys, "argv", ["stpa", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        out, err = capsys.readouterr()
        return int(exit_.value.code or 0), out.splitlines(), err.splitlines()

    return run


def test_presets_are_listed_with_what_they_are_for(stpa):
    code, out, _err = stpa("init", "--list")
    told = "\n".join(out)
    assert code == 0
    assert "small (default)" in told
    for name in NAMES:
        assert name in told
        assert preset_purposes()[name].split()[0] in told


def test_a_new_user_needs_a_folder_s_name_alone(stpa, tmp_path):
    root = tmp_path / "my_project"
    code, out, err = stpa("init", root)
    assert (code, err) == (0, [])
    assert out == [f"{root}/params.yaml is made from preset small; edit it freely"]
    assert {path.name for path in root.iterdir()} == {"params.yaml", "dvc.yaml"}
    assert stpa("init", root) == (0, [f"{root}/params.yaml stays as it is: nothing changes"], [])


def test_an_edited_file_is_replaced_on_demand_alone(stpa, tmp_path):
    params = tmp_path / "params.yaml"
    stpa("init", tmp_path)
    text = params.read_text(encoding="utf-8").replace("seed: 0", "seed: 1")
    params.write_text(text, encoding="utf-8")
    code, out, [error] = stpa("init", tmp_path)
    assert (code, out) == (1, ["train.seed: 1 -> 0"])
    assert error.startswith(f"error: {params} ")
    assert "--replace" in error
    assert params.read_text(encoding="utf-8") == text
    assert stpa("init", tmp_path, "--replace") == (
        0,
        ["train.seed: 1 -> 0", f"the old params.yaml is kept as {params}.1"],
        [],
    )


def test_an_upgrade_says_what_it_adds(stpa, tmp_path):
    params = tmp_path / "params.yaml"
    stpa("init", tmp_path)
    lines = params.read_text(encoding="utf-8").splitlines(keepends=True)
    params.write_text("".join(line for line in lines if "version" not in line), encoding="utf-8")
    assert stpa("init", tmp_path, "--upgrade") == (
        0,
        [f"version: (absent) -> {FORMAT}", f"the old params.yaml is kept as {params}.1"],
        [],
    )
    assert stpa("init", tmp_path, "--upgrade")[1] == [f"{params} stays as it is: nothing changes"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["init"], "error: no folder is named: `stpa init my_project`, or `stpa init --list`"),
        (
            ["init", "x", "--preset", "demo", "--params", "a.yaml"],
            "error: --preset and --params exclude each other: give one of them",
        ),
        (
            ["init", "x", "--preset", "big"],
            f"error: preset 'big' is unknown: choose from {', '.join(NAMES)}",
        ),
    ],
)
def test_what_cannot_be_is_one_line(stpa, arguments, told):
    assert stpa(*arguments) == (1, [], [told])
