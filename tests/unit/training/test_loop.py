"""Steps: they learn, and weigh the losses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stpa.models.attention_losses import ATTENTION_LOSSES, INTERACTIVE_LOSSES
from stpa.models.heads import HeadOutput
from stpa.models.network import ActionNetwork
from stpa.streams import FLOW, RGB, Stream
from stpa.training.loop import StepOptions, loss_terms, top1, total_loss, train_step
from stpa.training.optim import build_optimizer, build_schedule
from tests.unit.models.test_network import SPEC, random_clips, spec_of, with_options

TARGETS = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 0]])
"""Several labels, one, all, and none."""


def one_batch(network: ActionNetwork) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    targets = torch.eye(3)[[0, 1, 2, 0]]
    return {"frames": random_clips(network, num_clips=4, time=2), "target": targets}


def step_options(network: ActionNetwork) -> StepOptions:
    """Return the plainest options."""
    return StepOptions(
        multi_label=network.spec.multi_label,
        loss_weights=network.head.options.loss_weights,
        gradient_clip=20.0,
        label_smoothing=0.0,
        mixup_alpha=0.0,
        precision="float32",
        clips_at_once=None,
        frames_at_once=None,
    )


def run(network: ActionNetwork, batches: list, learning_rate: float = 0.003) -> dict[str, float]:
    """Take a step for each batch, and return what the last one saw."""
    optimizer = build_optimizer(
        network,
        "adamw",
        learning_rate=learning_rate,
        new_layer_rate=1.0,
        pretrained=True,
        momentum=0.9,
        weight_decay=0.0,
        rates="uniform",
    )
    schedule = build_schedule(optimizer, "cosine", len(batches), milestones=[], warm_up=0.1)
    network.train()
    seen: dict[str, torch.Tensor] = {}
    for batch in batches:
        seen = train_step(network, batch, optimizer, step_options(network))
        schedule.step()
    return {name: value.item() for name, value in seen.items() if value.ndim == 0}


@pytest.mark.parametrize("stream", [RGB, FLOW])
@pytest.mark.parametrize("head", ["stpa", "tsn"])
def test_network_overfits_one_batch(stream: Stream, head: str) -> None:
    torch.manual_seed(0)
    network = ActionNetwork(spec_of(head, stream=stream, dropout=0.0))
    batch = one_batch(network)
    run(network, [batch] * 25)
    last = run(network, [batch], learning_rate=1e-6)
    assert last["top1"] == 1
    assert last["classification"] < 0.1


def test_network_overfits_clips_of_several_labels_and_none() -> None:
    torch.manual_seed(0)
    network = ActionNetwork(replace(SPEC, dropout=0.0, multi_label=True))
    batch = one_batch(network) | {"target": TARGETS}
    run(network, [batch] * 25)
    last = run(network, [batch], learning_rate=1e-6)
    assert last["classification"] < 0.1
    assert last["top1"] == 3 / 4


def test_several_labels_give_the_mean_binary_cross_entropy_of_clips_and_classes() -> None:
    logits = torch.tensor([[0.5, -2.0, 30.0], [-1.0, 0.0, 2.0], [1.0, 1.0, 1.0], [-3.0, 0.1, 0.0]])
    terms = loss_terms(HeadOutput(logits), TARGETS, multi_label=True)
    chance = 1 / (1 + np.exp(-logits.double().numpy()))
    shown = TARGETS.numpy() == 1
    naive = -np.log(np.where(shown, chance, 1 - chance)).mean()
    assert terms["classification"].item() == pytest.approx(naive)


def test_one_label_gives_the_cross_entropy_of_its_index() -> None:
    logits = torch.randn(4, 3)
    labels = torch.tensor([0, 1, 2, 0])
    terms = loss_terms(HeadOutput(logits), torch.eye(3)[labels], multi_label=False)
    torch.testing.assert_close(terms["classification"], F.cross_entropy(logits, labels))


def test_top1_counts_any_class_that_a_clip_shows() -> None:
    logits = torch.tensor([[1.0, 0, 2], [3, 2, 1], [0, 2, 1], [0, 0, 1]])
    assert top1(logits, TARGETS).item() == 2 / 4


@pytest.mark.parametrize("interactive", INTERACTIVE_LOSSES)
@pytest.mark.parametrize("attention", ATTENTION_LOSSES)
def test_loss_is_the_weighted_sum_of_its_terms(interactive: str, attention: str) -> None:
    options = {"interactive_loss": interactive, "interactive_weight": 0.01}
    options |= {"attention_loss": attention, "attention_weight": 0.1}
    network = ActionNetwork(with_options(SPEC, **options))
    metrics = run(network, [one_batch(network)])
    expected = (
        metrics["classification"] + 0.01 * metrics["interactive"] + 0.1 * metrics["attention"]
    )
    assert metrics["loss"] == pytest.approx(expected)
    assert metrics["attention"] > 0


def test_a_head_without_losses_of_its_own_has_the_classification_alone() -> None:
    network = ActionNetwork(spec_of("tsn"))
    batch = one_batch(network)
    terms = loss_terms(network(batch["frames"]), batch["target"], multi_label=False)
    assert list(terms) == ["classification"]
    assert total_loss(terms, network.head.options.loss_weights) is terms["classification"]


def test_losses_and_metrics_of_a_head_are_of_training_alone() -> None:
    network = ActionNetwork(SPEC).eval()
    output = network(one_batch(network)["frames"])
    assert (output.terms, output.metrics) == ({}, {})


def test_loss_of_weight_0_has_no_part_in_the_gradient() -> None:
    network = ActionNetwork(SPEC)
    batch = one_batch(network)
    output = network(batch["frames"])
    terms = loss_terms(output, batch["target"], multi_label=False) | {
        "interactive": output.logits.sum() * torch.inf
    }
    total_loss(terms, {"interactive": 0.0, "attention": 1e-4}).backward()
    gradient = network.head.classifier.bias.grad
    assert gradient is not None
    assert gradient.isfinite().all()


def test_gradient_reaches_every_parameter() -> None:
    network = ActionNetwork(SPEC)
    batch = one_batch(network)
    terms = loss_terms(network(batch["frames"]), batch["target"], multi_label=False)
    sum(terms.values(), torch.zeros(())).backward()
    without = [name for name, value in network.named_parameters() if value.grad is None]
    assert without == []
