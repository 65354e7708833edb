"""What streams can tell apart: two halves of a class, of which each stream knows one."""

import dataclasses

import numpy as np
import pytest

from stpa.evaluation.confusions import (
    Agreement,
    compare_streams,
    confused_pairs,
    count_agreement,
    mean_probabilities,
    order_classes,
)
from stpa.evaluation.fusion import Fusion, fuse

NAMES = ("red jump", "blue run", "red run", "blue jump")
COLOURS, MOTIONS = np.array([0, 1, 0, 1]), np.array([0, 1, 1, 0])
SAME_COLOUR = (COLOURS[:, None] == COLOURS).astype(float)
SAME_MOTION = (MOTIONS[:, None] == MOTIONS).astype(float)


def test_mean_probabilities_are_averaged_over_the_videos_of_a_class() -> None:
    probabilities = np.array([[0.8, 0.2, 0.0], [0.4, 0.6, 0.0], [0.1, 0.8, 0.1]])
    labels = np.eye(3, dtype=bool)[[0, 0, 1]]
    found = mean_probabilities(probabilities, labels)
    np.testing.assert_allclose(found, [[0.6, 0.4, 0], [0.1, 0.8, 0.1], [0, 0, 0]])


@pytest.mark.parametrize("same", [SAME_COLOUR, SAME_MOTION])
def test_classes_that_are_mixed_up_become_neighbours(same: np.ndarray) -> None:
    order = np.array(order_classes([same / 2]))
    assert sorted(order) == [0, 1, 2, 3]
    assert same[order[0], order[1]]
    assert same[order[2], order[3]]


def test_groups_that_are_alike_lie_side_by_side() -> None:
    chain = np.array([4, 0, 3, 1, 2])  # class chain[i] is like chain[i + 1]
    confusion = np.zeros((5, 5))
    confusion[chain[:-1], chain[1:]] = [0.3, 0.4, 0.4, 0.3]
    assert order_classes([confusion]) in (tuple(chain), tuple(chain[::-1]))


@pytest.mark.parametrize("num_classes", [1, 2])
def test_one_or_two_classes_stay_in_order(num_classes: int) -> None:
    assert order_classes([np.eye(num_classes)]) == tuple(range(num_classes))


def test_classes_without_videos_are_ordered_too() -> None:
    assert sorted(order_classes([np.zeros((3, 3))])) == [0, 1, 2]


def test_pairs_are_those_of_the_highest_mutual_probability() -> None:
    confusion = np.array([[0.5, 0.3, 0.2], [0.5, 0.5, 0.0], [0.0, 0.1, 0.9]])
    worst, next_to_worst = confused_pairs(confusion, ("a", "b", "c"), most=2)
    assert (worst[:2], next_to_worst[:2]) == (("a", "b"), ("a", "c"))
    assert (worst.probability, next_to_worst.probability) == pytest.approx((0.4, 0.1))


def test_videos_are_counted_by_which_stream_alone_is_right() -> None:
    rgb, flow, fused = (
        np.array(row, bool) for row in ([1, 1, 0, 0, 0], [1, 0, 1, 0, 0], [1, 0, 1, 1, 0])
    )
    assert count_agreement([rgb, flow], fused) == [
        Agreement((True, True), 1, 1),
        Agreement((True, False), 1, 0),
        Agreement((False, True), 1, 1),
        Agreement((False, False), 2, 1),
    ]


def test_streams_that_know_half_a_class_each_show_it(make_scores) -> None:
    labels = np.eye(4, dtype=bool)
    rgb = make_scores(
        class_names=NAMES,
        video_ids=tuple("abcd"),
        labels=labels,
        logits={3: 5 * SAME_COLOUR.astype(np.float32)},
    )
    flow = dataclasses.replace(rgb, stream="flow", logits={3: 5 * SAME_MOTION.astype(np.float32)})
    fused = fuse([rgb, flow], Fusion("average_logits"))
    found = compare_streams([rgb, flow], fused, 3)
    assert {pair[:2] for pair in found.pairs["rgb"][:2]} == {NAMES[::2], NAMES[1::2]}
    assert {pair[:2] for pair in found.pairs["flow"][:2]} == {NAMES[::3], NAMES[1:3]}
    assert found.pairs["fused"][0].probability < 0.1 < 0.4 < found.pairs["rgb"][1].probability
    assert list(found.confusions) == ["rgb", "flow", "fused"]
    assert sum(group.num_fused_right for group in found.agreement) == 4
