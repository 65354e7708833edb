"""What a training tells of itself: that it learns, or why it does not."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stpa.models.heads import head_options
from stpa.streams import FLOW, RGB, Stream
from stpa.training.learning import Epoch, Ignorance, LearningCheck
from tests.unit.models.test_network import OPTIONS

SIX_EVEN = Ignorance.of(np.eye(6).repeat(5, axis=0), label_smoothing=0.0, multi_label=False)


def epoch(number: int = 30, **changed: float) -> Epoch:
    """Return the metrics of a training that learns."""
    sound = {
        "epoch": number,
        "classification": 0.4,
        "largest_answer_share": 0.3,
        "head_terms_over_classification": -0.01,
    }
    return {**sound, **changed}


def check_of(
    stream: Stream = FLOW,
    *,
    steps: int = 10,
    ignorance: Ignorance = SIX_EVEN,
    warnings: dict[str, str] | None = None,
    head_is_first: bool = False,
) -> LearningCheck:
    return LearningCheck(
        stream, 30, steps, ignorance, "stpa", warnings or {}, head_is_first=head_is_first
    )


def names(metrics: Epoch, ignorance: Ignorance = SIX_EVEN, steps: int = 10) -> list[str]:
    check = check_of(steps=steps, ignorance=ignorance)
    return [problem.name for problem in [*check.before(), *check.after(metrics)]]


def test_a_training_that_learns_has_no_problem():
    assert names(epoch()) == []


@pytest.mark.parametrize("classification", [1.80, 1.69, 2.49])  # measured ones that had not learnt
def test_a_loss_near_that_of_guessing_is_told_with_what_to_change(classification):
    [problem] = check_of().after(epoch(classification=classification))
    assert problem.name == "loss_at_its_start"
    assert not problem.has_learnt
    assert f"{classification:.2f}" in problem.message
    assert "1.79" in problem.message
    assert "train.streams.flow.learning_rate" in problem.message


def test_one_answer_for_all_is_told_whatever_the_loss():
    assert names(epoch(largest_answer_share=0.99)) == ["one_answer"]


def test_most_clips_of_one_class_excuse_as_many_answers():
    rare = np.array([[1, 0]] * 97 + [[0, 1]] * 3, dtype=float)
    ignorance = Ignorance.of(rare, label_smoothing=0.0, multi_label=False)
    learnt = epoch(classification=0.05, largest_answer_share=0.97)
    assert names(learnt, ignorance) == []
    assert names({**learnt, "largest_answer_share": 1.0}, ignorance) == ["one_answer"]


def test_the_first_half_of_a_training_may_be_warming_up():
    knows_nothing = {"classification": 1.8, "largest_answer_share": 1.0}
    assert names(epoch(14, **knows_nothing)) == []
    assert names(epoch(15, **knows_nothing)) == ["loss_at_its_start", "one_answer"]


@pytest.mark.parametrize(
    ("entropy", "positions", "seen"),
    [(0.06, 3.2, "down to 3 of a clip's positions"), (1.0, 398.0, "still weigh alike")],
)
def test_attention_is_named_where_it_is_stuck_and_nothing_is_learnt(entropy, positions, seen):
    attends = {"attention_entropy": entropy, "attention_positions": positions}
    [_, stuck] = check_of().after(epoch(classification=1.8, **attends))
    assert stuck.name == "stuck_attention"
    assert seen in stuck.message
    assert "train.warm_start features" in stuck.message
    [_, warm] = check_of(head_is_first=True).after(epoch(classification=1.8, **attends))
    assert "warm_start" not in warm.message  # it is set already
    assert "model.top_layer FC" in warm.message
    assert names(epoch(**attends)) == []  # a network that learns may attend as it likes
    moderate = epoch(classification=1.8, attention_entropy=0.8, attention_positions=90.0)
    assert names(moderate) == ["loss_at_its_start"]


def test_losses_of_the_head_above_the_classification_are_told_in_any_epoch():
    swamped = epoch(2, head_terms_over_classification=-1936 / 1.8, classification=1.8)
    check = check_of()
    [problem] = check.after(swamped)
    assert problem.name == "head_terms"
    assert problem.has_learnt  # by itself it does not say that the network knows nothing
    assert "lower their weights in model.heads.stpa" in problem.message


def test_small_terms_beside_a_loss_that_has_come_to_nothing_are_no_problem():
    assert names(epoch(classification=1e-6, head_terms_over_classification=-90.0)) == []


def test_few_steps_are_told_before_the_first():
    [problem] = check_of(RGB, steps=3).before()
    assert "only 90 optimiser steps" in problem.message
    assert problem.has_learnt
    assert check_of(RGB, steps=4).before() == []


def test_what_the_head_warns_of_is_told_before_the_first_step():
    [problem] = check_of(warnings={"name": "it is odd"}).before()
    assert (problem.name, problem.message) == ("name", "model.heads.stpa: it is odd")
    assert problem.has_learnt


@pytest.mark.parametrize(
    ("loss", "weight", "warns"),
    [("paper", 1e-4, True), ("paper", 0.0, False), ("bounded", 1.0, False)],
)
def test_the_printed_loss_is_warned_of_where_it_takes_part(loss, weight, warns):
    options = head_options(
        "stpa", OPTIONS["stpa"] | {"interactive_loss": loss, "interactive_weight": weight}
    )
    assert ("no lower bound" in "".join(options.warnings.values())) == warns


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("multi_label", [False, True])
def test_ignorance_costs_what_the_best_constant_answer_does(smoothing, multi_label):
    random = np.random.default_rng(0)
    targets = np.eye(3)[random.choice(3, size=200, p=[0.6, 0.3, 0.1])]
    if multi_label:
        targets = (random.random((200, 3)) < [0.6, 0.3, 0.0]).astype(float)
    unknown = 0.5 if multi_label else 1 / 3
    smoothed = torch.from_numpy((1 - smoothing) * targets + smoothing * unknown)
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        each = logits.expand(len(targets), -1)
        classify = F.binary_cross_entropy_with_logits if multi_label else F.cross_entropy
        value = classify(each, smoothed)
        value.backward()
        return value

    optimizer.step(loss)
    found = Ignorance.of(targets, label_smoothing=smoothing, multi_label=multi_label)
    assert found.loss == pytest.approx(float(loss().detach()), abs=1e-4)
    assert found.largest_class == pytest.approx(targets.mean(axis=0).max())


def test_even_classes_cost_the_logarithm_of_their_number():
    assert SIX_EVEN.loss == pytest.approx(math.log(6))
