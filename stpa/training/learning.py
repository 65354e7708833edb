"""Whether a training learns: what its epochs tell, and what to change where it does not.

A network that has learnt nothing answers the frequencies of the classes, whatever it sees. The
loss of such an answer is what a training must get below; a network that calls everything one class
has not learnt either, whatever its loss.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stpa.shapes import Float
from stpa.streams import Stream

MIN_STEPS = 100
"""Fewer optimiser steps rarely train a network, pretrained or not."""
LEARNT_SHARE = 0.9
"""A training has learnt when its loss is below this share of what ignorance costs."""
ONE_ANSWER = 0.95
"""A network whose most frequent answer has this share calls everything one class."""
NOTABLE_SHARE = 0.1
"""Of what ignorance costs: terms below it are no problem, whatever they are compared with."""
CONCENTRATED, EVEN = 0.3, 0.99
"""Entropies, as shares of an even map's, below which attention is down to a few positions, and
above which it is even."""
FIRST_LOOK = 0.5
"""Share of the epochs after which a training that still knows nothing is reported."""

Epoch = Mapping[str, int | float]
"""The metrics of one epoch (`stpa.training.epoch_metrics.summarise`)."""


@dataclass(frozen=True)
class Ignorance:
    """What a classifier costs that knows the frequencies of the classes and nothing else."""

    loss: float
    """Of always answering them, nats; by the targets as they are smoothed."""
    largest_class: float
    """The share of clips that show the most frequent class."""

    @classmethod
    def of(
        cls,
        targets: Float[np.ndarray, "clips classes"],
        *,
        label_smoothing: float,
        multi_label: bool,
    ) -> "Ignorance":
        """Measure it on the targets of the training clips, 1 for each class that a clip shows."""
        shares = targets.mean(axis=0, dtype=np.float64)
        unknown = 0.5 if multi_label else 1 / len(shares)
        smoothed = (1 - label_smoothing) * shares + label_smoothing * unknown
        loss = np.sum(_surprise(smoothed))
        if multi_label:  # the binary cross entropy, which is a mean over classes
            loss = np.mean(_surprise(smoothed) + _surprise(1 - smoothed))
        return cls(float(loss), float(shares.max()))


@dataclass(frozen=True)
class Problem:
    """Something that keeps a training from learning."""

    name: str
    message: str
    """What was seen, and what to change."""
    has_learnt: bool
    """False: the network knows nothing."""

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class LearningCheck:
    """Finds what keeps a training from learning."""

    stream: Stream
    num_epochs: int
    steps_per_epoch: int
    ignorance: Ignorance
    head: str
    """Its name in `model.heads`."""
    head_warnings: Mapping[str, str]
    """`HeadOptions.warnings`."""
    head_is_first: bool
    """Whether the head learns from the features of a pretrained backbone first, or alone."""

    def before(self) -> list[Problem]:
        """Return what is wrong before the first step."""
        problems = []
        if (num_steps := self.num_epochs * self.steps_per_epoch) < MIN_STEPS:
            problems.append(_too_few_steps(num_steps, self.stream))
        problems += [
            Problem(name, f"model.heads.{self.head}: {text}", has_learnt=True)
            for name, text in self.head_warnings.items()
        ]
        return problems

    def after(self, epoch: Epoch) -> list[Problem]:
        """Return what is wrong at the end of an epoch, whose metrics are given.

        Loss and answers are judged from half of the epochs on: before, a network may be warming
        up.
        """
        found = [_head_terms(epoch, self.ignorance, self.head)]
        if epoch["epoch"] >= FIRST_LOOK * self.num_epochs:
            found.append(_loss_at_its_start(epoch, self.ignorance, self.stream))
            found.append(_one_answer(epoch, self.ignorance, self.stream))
            if any(problem and not problem.has_learnt for problem in found):
                found.append(_stuck_attention(epoch, head_is_first=self.head_is_first))
        return [problem for problem in found if problem is not None]


def _too_few_steps(num_steps: int, stream: Stream) -> Problem:
    return Problem(
        "too_few_steps",
        f"only {num_steps} optimiser steps in all, where {MIN_STEPS} are few: raise "
        f"train.streams.{stream}.epochs or train.min_steps_per_epoch",
        has_learnt=True,
    )


def _loss_at_its_start(epoch: Epoch, ignorance: Ignorance, stream: Stream) -> Problem | None:
    loss = epoch["classification"]
    if loss < LEARNT_SHARE * ignorance.loss:
        return None
    return Problem(
        "loss_at_its_start",
        f"the classification loss is {loss:.2f}, where guessing by the frequencies of the classes "
        f"costs {ignorance.loss:.2f}: nothing is learnt. Change train.streams.{stream}."
        "learning_rate (a third of it, or three times as much), raise the number of epochs, or "
        "start from pretrained weights (model.pretrained); or leave it, if "
        f"{'one frame' if stream.rest_level is None else 'motion'} alone cannot show the class",
        has_learnt=False,
    )


def _one_answer(epoch: Epoch, ignorance: Ignorance, stream: Stream) -> Problem | None:
    share = epoch["largest_answer_share"]
    # Where nearly all clips show one class, so may the answers.
    if share < max(ONE_ANSWER, (1 + ignorance.largest_class) / 2):
        return None
    return Problem(
        "one_answer",
        f"{share:.0%} of the clips are given the same class, though none has more than "
        f"{ignorance.largest_class:.0%} of them: lower train.streams.{stream}.learning_rate, or, "
        "if the head attends, let it do so over frames (model.top_layer FC, model.num_scales 1)",
        has_learnt=False,
    )


def _stuck_attention(epoch: Epoch, *, head_is_first: bool) -> Problem | None:
    """Name the attention as a cause, where a network that attends has learnt nothing."""
    entropy = epoch.get("attention_entropy")
    if entropy is None or CONCENTRATED <= entropy <= EVEN:
        return None
    seen = (
        f"each map is down to {epoch['attention_positions']:.0f} of a clip's positions"
        if entropy < CONCENTRATED
        else "all positions of a clip still weigh alike"
    )
    advice = (
        "attend to frames alone (model.top_layer FC, model.num_scales 1)"
        if head_is_first
        else "let the head learn from the features of pretrained weights first "
        "(train.warm_start features)"
    )
    return Problem(
        "stuck_attention",
        f"nothing is learnt, and {seen}: {advice}",
        has_learnt=False,
    )


def _head_terms(epoch: Epoch, ignorance: Ignorance, head: str) -> Problem | None:
    ratio = epoch["head_terms_over_classification"]
    size = abs(ratio) * epoch["classification"]
    # Compared with a classification loss near 0, any term is large.
    if abs(ratio) <= 1 or size < NOTABLE_SHARE * ignorance.loss:
        return None
    return Problem(
        "head_terms",
        f"the head's own losses are {abs(ratio):.3g} times the classification loss and take the "
        f"gradient from it: lower their weights in model.heads.{head}, or choose bounded forms",
        has_learnt=True,
    )


def _surprise(shares: Float[np.ndarray, " classes"]) -> Float[np.ndarray, " classes"]:
    """Return -p log p, 0 at p = 0."""
    return -shares * np.log(np.where(shares > 0, shares, 1.0))
