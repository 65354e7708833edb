"""What is explained, and what a repeated frame counts."""

import numpy as np
import pytest

from stpa.evaluation.explain import (
    Contrast,
    Explanation,
    StreamEvidence,
    best_contrast,
    middle_flow,
)
from stpa.optical_flow.codec import dequantise, quantise
from stpa.streams import STACK_LENGTH


@pytest.mark.parametrize(
    ("scores", "multi_label", "expected"),
    [
        ([0.1, 2.0, 1.0], False, Contrast(1, 2)),
        ([1.0, 1.0, 0.0], False, Contrast(0, 1)),  # of equal scores, the lower index
        ([0.1, 2.0, 1.0], True, Contrast(1, None)),
        ([3.0], False, Contrast(0, None)),
    ],
)
def test_the_best_class_is_set_against_the_next_where_classes_exclude_each_other(
    scores: list[float], multi_label: bool, expected: Contrast
) -> None:
    assert best_contrast(np.array(scores, np.float32), multi_label) == expected


def test_a_contrast_weighs_winner_and_runner_up_alone() -> None:
    assert Contrast(2, 0).weights(4).tolist() == [-1, 0, 1, 0]
    assert Contrast(2, None).weights(4).tolist() == [0, 0, 1, 0]


def seen(logits: list[float], indices: list[int]) -> StreamEvidence:
    num_frames = len(indices)
    frames = np.zeros((num_frames, 4, 4, 3), np.uint8)
    frames[:] = np.array(indices, np.uint8)[:, None, None, None]
    return StreamEvidence(
        frames=frames,
        flow=None,
        indices=np.array(indices),
        evidence=np.arange(num_frames, dtype=np.float32)[:, None, None] * np.ones((2, 2)),
        frame_weights=np.full(num_frames, 1 / num_frames),
        logits=np.array(logits, np.float32),
    )


def test_a_repeated_frame_has_the_evidence_and_weight_of_all_its_copies() -> None:
    distinct = seen([0, 1], [3, 3, 3, 8]).distinct()
    assert distinct.indices.tolist() == [3, 8]
    assert distinct.frames[:, 0, 0, 0].tolist() == [3, 8]
    assert distinct.evidence[:, 0, 0].tolist() == [0 + 1 + 2, 3]
    assert distinct.frame_weights.tolist() == [0.75, 0.25]


def explanation(multi_label: bool = False, **streams: StreamEvidence) -> Explanation:
    scores = np.array([0, 2, 1], np.float32)
    contrast = best_contrast(scores, multi_label)
    return Explanation(("a", "b", "c"), multi_label, scores, contrast, streams, fps=25.0)


def test_probabilities_are_fused_and_of_each_stream_alone() -> None:
    both = explanation(rgb=seen([0, 0, 0], [0]), flow=seen([9, 0, 0], [0])).probabilities()
    assert list(both) == ["fused", "rgb", "flow"]
    assert both["rgb"].tolist() == pytest.approx([1 / 3] * 3)
    assert both["fused"].argmax() == 1
    assert list(explanation(rgb=seen([0, 0, 0], [0])).probabilities()) == ["rgb"]
    sigmoids = explanation(multi_label=True, rgb=seen([0, 0, 0], [0])).probabilities()
    assert sigmoids["rgb"].tolist() == [0.5] * 3


def test_a_stream_may_be_against_what_both_answer() -> None:
    explained = explanation(rgb=seen([0, 1, 3], [0]), flow=seen([0, 5, 1], [0]))
    assert (explained.winner, explained.runner_up) == ("b", "c")
    assert (explained.lead("rgb"), explained.lead("flow")) == (-2, 4)


def test_the_middle_of_a_stack_of_flow_is_shown() -> None:
    by_frame = np.arange(STACK_LENGTH, dtype=np.float32)
    flow = np.stack([by_frame, -by_frame], axis=1).reshape(1, -1, 1, 1) * np.ones((1, 1, 3, 3))
    shown = middle_flow(quantise(flow, bound_px=8.0), bound_px=8.0)
    middle = STACK_LENGTH // 2
    np.testing.assert_array_equal(
        shown, dequantise(quantise(flow[:, 2 * middle : 2 * middle + 2], 8.0), 8.0)
    )
    assert shown[0, :, 0, 0] == pytest.approx([middle, -middle], abs=0.05)
