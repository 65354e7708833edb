"""Which test videos are shown: what fusion adds, a right answer, a wrong one."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from stpa.evaluation.examples import choose_examples
from stpa.evaluation.scores import Scores

K = 3
Streams = Callable[[str, str, str], tuple[Scores, Scores, Scores]]


@pytest.fixture
def streams(make_scores) -> Streams:
    """Make scores of six videos of class 0, from the class that each stream takes each for."""

    def make_one(stream: str, answers: str) -> Scores:
        logits = np.zeros((6, 3), np.float32)
        logits[range(6), [int(index) for index in answers]] = (4, 3, 2, 1, 2, 5)  # how sure
        labels = np.eye(3, dtype=bool)[[0] * 6]
        return make_scores(stream=stream, labels=labels, logits={K: logits})

    return lambda rgb, flow, fused: (
        make_one("rgb", rgb),
        make_one("flow", flow),
        make_one("fused", fused),
    )


@pytest.mark.parametrize(
    ("rgb", "flow", "fused", "chosen"),
    [
        ("001111", "010121", "000012", [3, 0, 5]),  # 3: both streams alone are wrong
        ("001111", "010121", "000112", [1, 0, 5]),  # 1: one of them is
        ("000000", "000000", "000000", [5]),
        ("000000", "000000", "000001", [0, 5]),
        ("111111", "222222", "111111", [5]),
    ],
)
def test_the_surest_video_of_each_kind_is_chosen(
    streams: Streams, rgb: str, flow: str, fused: str, chosen: list[int]
) -> None:
    *alone, together = streams(rgb, flow, fused)
    assert choose_examples(alone, together, K) == chosen


def test_a_video_without_a_label_is_never_chosen(streams: Streams) -> None:
    without_last = np.eye(3, dtype=bool)[[0] * 6]
    without_last[5] = False
    rgb, flow, fused = (
        dataclasses.replace(scores, multi_label=True, labels=without_last)
        for scores in streams("111111", "222222", "111111")
    )
    assert choose_examples([rgb, flow], fused, K) == [0]
