import numpy as np
import pytest

from stpa.evaluation.metrics import confusion, correct, mean_class_accuracy, top1, top5

LABELS = np.array([0, 0, 0, 2])
LOGITS = np.array([[3, 1, 2], [1, 3, 2], [2, 1, 0], [0, 0, 1]], dtype=np.float32)


def test_a_video_is_correct_where_its_label_has_the_highest_logit():
    assert correct(LOGITS, LABELS).tolist() == [True, False, True, True]


def test_top1_counts_every_video_alike():
    assert top1(LOGITS, LABELS) == 3 / 4


def test_mean_class_accuracy_counts_every_present_class_alike():
    assert mean_class_accuracy(LOGITS, LABELS) == pytest.approx((2 / 3 + 1) / 2)


def test_confusion_has_labels_in_rows_and_predictions_in_columns():
    assert confusion(LOGITS, LABELS).tolist() == [[2, 1, 0], [0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize(("label", "found"), [(4, True), (5, False)])
def test_top5_reaches_the_fifth_highest_logit_and_no_further(label, found):
    logits = np.array([[9, 8, 7, 6, 5, 4, 3]], dtype=np.float32)
    assert top5(logits, np.array([label])) == found


@pytest.mark.parametrize("accuracy", [top1, mean_class_accuracy])
def test_a_constant_classifier_gets_no_credit_for_ties(accuracy):
    assert accuracy(np.zeros((4, 4), np.float32), np.arange(4)) == 1 / 4


def test_top5_of_a_constant_classifier_is_no_better_than_chance():
    assert top5(np.zeros((10, 10), np.float32), np.arange(10)) == 1 / 2
