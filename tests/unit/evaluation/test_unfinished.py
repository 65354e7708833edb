"""What a killed sweep leaves is read again, and nothing else with it."""

import json
from pathlib import Path

import numpy as np
import pytest

from stpa.evaluation.unfinished import UnfinishedScores


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "evaluate" / "rgb.jsonl"


def some_logits(seed: int) -> dict[int, np.ndarray]:
    random = np.random.default_rng(seed)
    return {k: random.normal(size=3).astype(np.float32) for k in (1, 25)}


def assert_holds(file: Path, *seeds: int) -> None:
    """The file holds the videos whose id and logits are made of `seeds`, to the last bit."""
    found = UnfinishedScores(file).logits
    assert sorted(found) == sorted(f"v{seed}" for seed in seeds)
    for seed in seeds:
        for k, values in some_logits(seed).items():
            assert found[f"v{seed}"][k].dtype == np.float32
            np.testing.assert_array_equal(found[f"v{seed}"][k], values)


def add(file: Path, *seeds: int) -> None:
    unfinished = UnfinishedScores(file)
    for seed in seeds:
        unfinished.add(f"v{seed}", some_logits(seed))


def test_a_file_that_is_not_there_holds_nothing_and_is_not_made(file: Path) -> None:
    assert_holds(file)
    assert not file.exists()


def test_what_was_added_is_there_when_reopened(file: Path) -> None:
    add(file, 0, 1)
    add(file, 2)
    assert_holds(file, 0, 1, 2)


def test_what_was_added_is_held_at_once(file: Path) -> None:
    unfinished = UnfinishedScores(file)
    unfinished.add("v0", some_logits(0))
    assert list(unfinished.logits) == ["v0"]


def test_any_letters_and_numbers_survive(file: Path) -> None:
    logits = {3: np.array([np.nan, np.inf, 1e-40, 0.1], dtype=np.float32)}
    UnfinishedScores(file).add("läuft\n\u2028weg", logits)
    found = UnfinishedScores(file).logits["läuft\n\u2028weg"][3]
    np.testing.assert_array_equal(found, logits[3])


def test_a_tear_anywhere_costs_one_video_and_none_of_those_added_later(file: Path) -> None:
    add(file, 0)
    whole = len(file.read_bytes())
    add(file, 1)
    content = file.read_bytes()
    for length in range(whole, len(content)):
        file.write_bytes(content[:length])
        assert_holds(file, 0)
        add(file, 2)
        assert_holds(file, 0, 2)


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b"7",
        b"null",
        b"\xff\xfe\x00",
        b"",
        json.dumps(["v9"]).encode(),
        json.dumps(["v9", [1.0, 2.0]]).encode(),
        json.dumps(["v9", {"1": 2.0}]).encode(),
        json.dumps(["v9", {"1": [[2.0]]}]).encode(),
        json.dumps(["v9", {"one": [2.0]}]).encode(),
        json.dumps([["v9"], {"1": [2.0]}]).encode(),
    ],
)
def test_a_line_that_is_no_videos_is_passed_over(line: bytes, file: Path) -> None:
    add(file, 0)
    file.write_bytes(file.read_bytes() + b"\n" + line)
    add(file, 1)
    assert_holds(file, 0, 1)


def test_removed_it_holds_nothing_and_may_be_removed_again(file: Path) -> None:
    add(file, 0)
    UnfinishedScores(file).remove()
    UnfinishedScores(file).remove()
    assert not file.exists()
    assert_holds(file)
