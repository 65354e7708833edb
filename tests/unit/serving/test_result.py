"""Which labels are the answer."""

import pytest

from stpa.serving.result import Result, choose_labels

SCORES = {"a": 0.75, "b": 0.5, "c": 0.25}


@pytest.mark.parametrize(
    ("multi_label", "threshold", "labels"),
    [
        (False, None, ("a",)),
        (False, 0.75, ("a",)),
        (False, 0.2, ("a",)),
        (False, 0.8, ()),
        (True, None, ("a",)),
        (True, 0.5, ("a", "b")),
        (True, 0.8, ()),
    ],
)
def test_a_threshold_leaves_out_what_is_below_it(multi_label, threshold, labels):
    assert choose_labels(SCORES, multi_label=multi_label, threshold=threshold) == labels


def test_several_labels_are_one_text_and_none_is_blank():
    assert Result("a.mp4", ("a", "b"), SCORES).label == "a; b"
    assert Result("a.mp4", (), SCORES).label == ""
    assert Result("a.mp4", (), SCORES).probability == 0.75
