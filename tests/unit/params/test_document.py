"""Params files as documents: what becomes of values and comments when files extend each other."""

import re
from pathlib import Path
from textwrap import dedent

import pytest
import yaml

from stpa.errors import ConfigError
from stpa.params import read_document
from stpa.presets import NAMES, preset_path

BASE = """\
# The base.

# Which data.
data:                # a section
  split: 1           # of three

  # Two lines
  # on folds.
  num_folds: 3
  synthetic: null
train:
  rgb:
    epochs: 30       # times
    dropout: 0.5
  sweep:
    - 1              # one
    # then
    - 2              # two
  # The last.
  seed: 0
# The end.
"""


@pytest.fixture
def write(tmp_path: Path):
    """Write a file below the test's folder."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(dedent(text), encoding="utf-8")
        return path

    return write


def merged(path: Path) -> str:
    document = read_document(path)
    text = document.text(document.head)
    assert yaml.safe_load(text) == document.values
    return text


def lines(text: str) -> list[str]:
    """Return the lines with each run of spaces as one."""
    return [" ".join(line.split()) for line in text.splitlines()]


def test_a_file_that_extends_none_stays_as_it_is(write):
    assert lines(merged(write("a.yaml", BASE))) == lines(BASE)


def test_the_project_s_own_file_stays_as_it_is_to_the_letter():
    assert merged(preset_path("standard")) == preset_path("standard").read_text(encoding="utf-8")


def test_values_change_and_comments_stay_with_their_keys(write):
    write("base.yaml", BASE)
    path = write("a.yaml", "extends: base.yaml\ndata: {split: 2}\ntrain: {rgb: {epochs: 5}}\n")
    expected = BASE.replace("split: 1", "split: 2").replace("epochs: 30", "epochs: 5")
    assert lines(merged(path)) == lines(expected)


def test_the_extending_file_s_comments_win(write):
    write("base.yaml", BASE)
    over = """\
        # The preset.
        extends: base.yaml

        data:
          # One line on folds.
          num_folds: 5     # more
          split: 1         # the first

        train:
          # On RGB.
          rgb: {epochs: 5}   # fewer
        # Over.
    """
    expected = (
        BASE.replace("# The base.", "# The preset.")
        .replace("# of three", "# the first")
        .replace(
            "\n  # Two lines\n  # on folds.\n  num_folds: 3",
            "  # One line on folds.\n  num_folds: 5 # more",
        )
        .replace("  rgb:\n    epochs: 30", "  # On RGB.\n  rgb: # fewer\n    epochs: 5")
        .replace("# The end.", "# Over.")
    )
    assert lines(merged(write("a.yaml", over))) == lines(expected)


def test_a_section_takes_the_place_of_null_and_a_list_that_of_a_list(write):
    write("base.yaml", BASE)
    over = """\
        extends: base.yaml
        data:
          synthetic:
            seed: 0      # of the clips
        train:
          sweep: [3, 4]  # others
    """
    expected = BASE.replace("synthetic: null", "synthetic:\n    seed: 0 # of the clips").replace(
        "sweep:\n    - 1              # one\n    # then\n    - 2              # two",
        "sweep: [3, 4] # others",
    )
    assert lines(merged(write("a.yaml", over))) == lines(expected)


def test_a_section_with_comments_fits_where_one_of_a_single_line_was(write):
    write("base.yaml", "options: {preset: 0}  # of the estimator\nseed: 0\n")
    path = write("a.yaml", "extends: base.yaml\noptions:\n  preset: 1  # why\n  size: 2\n")
    assert lines(merged(path)) == [
        "options: # of the estimator",
        "preset: 1 # why",
        "size: 2",
        "seed: 0",
    ]


def test_numbers_texts_and_nothing_are_written_as_they_were(write):
    text = "a: 0.000001\nb: 1.0e-4\nc: null\nd: \"_(g\\\\d+)\"\ne: 'no'\nf: [0.5, 1]\ng: ~\n"
    document = read_document(write("a.yaml", text))
    assert document.text("") == text.replace("~", "null")
    assert document.values == {
        "a": 1e-6,
        "b": 1e-4,
        "c": None,
        "d": r"_(g\d+)",
        "e": "no",
        "f": [0.5, 1],
        "g": None,
    }
    assert {type(value) for value in document.values.values()} == {float, type(None), str, list}


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_keeps_its_comments_and_those_of_all_keys_that_it_leaves_alone(name):
    *presets, standard = (
        path.read_text(encoding="utf-8") for path in read_document(preset_path(name)).files
    )
    text = merged(preset_path(name))
    for comment in re.findall(
        r"(?:^|\s)(# .*)$", presets[0] if presets else standard, re.MULTILINE
    ):
        assert comment in text
    changed = set(re.findall(r"(\w+):", "".join(presets)))
    for line in standard.splitlines()[1:]:
        assert line in text or line.partition(":")[0].strip() in changed


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\na: 2\n", "found duplicate key"),
        ("a: [", "is not readable YAML"),
        ("- 1\n", r"must hold sections \(data:, model:, ...\), not \[1\]"),
    ],
)
def test_a_file_that_is_no_params_file_is_one_line(write, text, told):
    with pytest.raises(ConfigError, match=told) as caught:
        read_document(write("a.yaml", text))
    assert "\n" not in str(caught.value)
