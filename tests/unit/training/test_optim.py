"""Schedules, parameter groups and frozen batch norms."""

import pytest
import torch
from torch import nn

from stpa.models.network import ActionNetwork
from stpa.training.optim import (
    build_optimizer,
    build_schedule,
    freeze_batch_norm,
    hold_frozen_batch_norm,
)
from tests.unit.models.test_network import SPEC


def rates(name: str, num_steps: int) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = build_schedule(optimizer, name, num_steps)
    seen = []
    for _ in range(num_steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def test_step_schedule_drops_to_a_tenth_twice() -> None:
    assert rates("step", 12) == pytest.approx([1] * 6 + [0.1] * 4 + [0.01] * 2)


def test_cosine_schedule_warms_up_then_falls_to_nothing() -> None:
    seen = rates("cosine", 20)
    assert seen[:2] == pytest.approx([0.5, 1])
    assert seen[2] == pytest.approx(1)
    assert seen[2:] == sorted(seen[2:], reverse=True)
    assert seen[11] == pytest.approx(0.5)
    assert 0 < seen[-1] < 0.01


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_head_learns_faster_and_biases_do_not_decay(name: str) -> None:
    network = ActionNetwork(SPEC)
    optimizer = build_optimizer(
        network, name, learning_rate=0.1, new_layer_rate=5.0, momentum=0.9, weight_decay=0.01
    )
    group_of = {
        id(parameter): group for group in optimizer.param_groups for parameter in group["params"]
    }
    assert len(group_of) == len(list(network.parameters()))
    for parameter_name, parameter in network.named_parameters():
        group = group_of[id(parameter)]
        assert group["lr"] == (0.5 if parameter_name.startswith("head.") else 0.1)
        assert group["weight_decay"] == (0.01 if parameter.ndim > 1 else 0)


@pytest.mark.parametrize(
    ("which", "num_learning"), [("none", None), ("all_but_first", 1), ("all", 0)]
)
def test_frozen_batch_norms_keep_statistics_and_affine_terms(
    which: str, num_learning: int | None
) -> None:
    network = ActionNetwork(SPEC)
    freeze_batch_norm(network.backbone, which)
    network.train()
    hold_frozen_batch_norm(network.backbone, which)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    learning = [norm for norm in norms if norm.training and norm.weight.requires_grad]
    assert len(learning) == (len(norms) if num_learning is None else num_learning)
    assert learning == norms[: len(learning)]
