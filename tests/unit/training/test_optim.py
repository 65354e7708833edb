"""Schedules, parameter groups and frozen batch norms."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import nn

from stpa.models.network import ActionNetwork
from stpa.streams import FLOW, RGB
from stpa.training.optim import (
    build_optimizer,
    build_schedule,
    freeze,
    hold_frozen,
)
from tests.unit.models.test_network import SPEC

FLOW_WITH_STEM_BIAS = replace(SPEC, stream=FLOW, backbone="bn_inception")
STEM = "conv1_7x7_s2"


def rates_over(
    name: str,
    num_steps: int,
    milestones: Sequence[float] = (1 / 2, 5 / 6),
    warm_up: float = 0.0,
) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = build_schedule(optimizer, name, num_steps, milestones, warm_up)
    seen = []
    for _ in range(num_steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def settings_of(
    network: ActionNetwork,
    name: str = "sgd",
    rates: Literal["uniform", "tsn"] = "uniform",
    pretrained: bool = True,
) -> dict[str, tuple[float, float]]:
    """Return the learning rate, in units of the backbone's, and the decay of each parameter."""
    optimizer = build_optimizer(
        network,
        name,
        learning_rate=1.0,
        new_layer_rate=3.0,
        pretrained=pretrained,
        momentum=0.9,
        weight_decay=0.01,
        rates=rates,
    )
    group_of = {
        id(parameter): group for group in optimizer.param_groups for parameter in group["params"]
    }
    return {
        parameter_name: (group_of[id(parameter)]["lr"], group_of[id(parameter)]["weight_decay"])
        for parameter_name, parameter in network.named_parameters()
    }


def setting(settings: dict[str, tuple[float, float]], end: str) -> tuple[float, float]:
    (found,) = [value for name, value in settings.items() if name.endswith("." + end)]
    return found


def test_step_schedule_drops_to_a_tenth_twice() -> None:
    assert rates_over("step", 12) == pytest.approx([1] * 6 + [0.1] * 4 + [0.01] * 2)


@pytest.mark.parametrize(
    ("num_steps", "milestones", "lengths"),
    [
        (30, [0.4, 0.8], [12, 12, 6]),  # Du et al., flow: after 12000 and 24000 of 30000
        (12, [1 / 3, 2 / 3], [4, 4, 4]),  # and RGB: every 4000
        (25, [0.28], [7, 18]),  # 0.28 * 25 is above 7
        (3, [], [3]),
    ],
)
def test_step_schedule_drops_to_a_tenth_at_each_milestone(
    num_steps: int, milestones: list[float], lengths: list[int]
) -> None:
    expected = [0.1**i for i, length in enumerate(lengths) for _ in range(length)]
    assert rates_over("step", num_steps, milestones) == pytest.approx(expected)


def test_cosine_schedule_warms_up_then_falls_to_nothing() -> None:
    seen = rates_over("cosine", 20, warm_up=0.1)
    assert seen[:2] == pytest.approx([0.5, 1])
    assert seen[2] == pytest.approx(1)
    assert seen[2:] == sorted(seen[2:], reverse=True)
    assert seen[11] == pytest.approx(0.5)
    assert 0 < seen[-1] < 0.01


def test_step_schedule_warms_up_too_and_drops_where_it_would() -> None:
    assert rates_over("step", 10, [0.5], warm_up=0.2) == pytest.approx([0.5] + [1] * 4 + [0.1] * 5)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_head_learns_faster_and_biases_do_not_decay(name: str) -> None:
    network = ActionNetwork(SPEC)
    settings = settings_of(network, name)
    for parameter_name, parameter in network.named_parameters():
        rate = 3.0 if parameter_name.startswith("head.") else 1.0
        assert settings[parameter_name] == (rate, 0.01 if parameter.ndim > 1 else 0)


def test_a_backbone_that_starts_from_nothing_learns_as_fast_as_the_head() -> None:
    settings = settings_of(ActionNetwork(SPEC), pretrained=False)
    assert {rate for rate, _ in settings.values()} == {3.0}


def test_tsn_rates_of_flow_favour_biases_and_the_adapted_stem() -> None:
    settings = settings_of(ActionNetwork(FLOW_WITH_STEM_BIAS), rates="tsn")
    assert setting(settings, STEM + ".weight") == (5, 0.01)
    assert setting(settings, STEM + ".bias") == (10, 0)
    assert setting(settings, STEM + "_bn.weight") == (1, 0)
    assert setting(settings, STEM + "_bn.bias") == (1, 0)
    assert setting(settings, "conv2_3x3_reduce.weight") == (1, 0.01)
    assert setting(settings, "conv2_3x3_reduce.bias") == (2, 0)
    assert setting(settings, "classifier.weight") == (3, 0.01)
    assert setting(settings, "classifier.bias") == (6, 0)


@pytest.mark.parametrize("top_layer", ["C", "FC"])
def test_tsn_rates_favour_every_branch_of_the_adapted_stem(top_layer: str) -> None:
    spec = replace(SPEC, stream=FLOW, backbone="repvgg_a0", top_layer=top_layer, num_scales=1)
    settings = settings_of(ActionNetwork(spec), rates="tsn")
    faster = {name.split("stem.")[-1] for name, (rate, _) in settings.items() if rate == 5}
    assert faster == {"conv_kxk.conv.weight", "conv_1x1.conv.weight"}


def test_tsn_rates_of_rgb_leave_the_stem_at_the_others_rate() -> None:
    network = ActionNetwork(replace(FLOW_WITH_STEM_BIAS, stream=RGB))
    settings = settings_of(network, rates="tsn")
    assert setting(settings, STEM + ".weight") == (1, 0.01)
    assert setting(settings, STEM + ".bias") == (2, 0)


def test_tsn_rates_double_every_bias_of_the_head() -> None:
    network = ActionNetwork(SPEC)
    settings = settings_of(network, rates="tsn")
    for parameter_name, parameter in network.head.named_parameters():
        assert settings["head." + parameter_name][0] == (3 if parameter.ndim > 1 else 6)


@pytest.mark.parametrize("rates", ["uniform", "tsn"])
def test_frozen_batch_norms_are_not_optimised(rates: Literal["uniform", "tsn"]) -> None:
    network = ActionNetwork(SPEC)
    freeze(network.backbone, "all")
    optimizer = build_optimizer(
        network,
        "sgd",
        learning_rate=1.0,
        new_layer_rate=1.0,
        pretrained=True,
        momentum=0.9,
        weight_decay=0.0,
        rates=rates,
    )
    optimised = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert optimised == {id(p) for p in network.parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("which", "num_learning"), [("none", None), ("all_but_first", 1), ("all", 0)]
)
def test_frozen_batch_norms_keep_statistics_and_affine_terms(
    which: str, num_learning: int | None
) -> None:
    network = ActionNetwork(SPEC)
    freeze(network.backbone, which)
    network.train()
    hold_frozen(network.backbone, which)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    learning = [norm for norm in norms if norm.training and norm.weight.requires_grad]
    assert len(learning) == (len(norms) if num_learning is None else num_learning)
    assert learning == norms[: len(learning)]


@pytest.mark.parametrize(
    "backbone", ["resnet18", "densenet121", "regnety_002", "bn_inception", "inception_resnet_v2"]
)
def test_partial_batch_norm_leaves_the_stems_alone_learning(backbone: str) -> None:
    network = ActionNetwork(replace(SPEC, backbone=backbone, input_size=96, short_side=96))
    freeze(network.backbone, "all_but_first")
    network.train()
    hold_frozen(network.backbone, "all_but_first")
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    ran: list[nn.Module] = []
    for norm in norms:
        norm.register_forward_hook(lambda module, *_: ran.append(module))
    network.pyramid(torch.zeros(1, 3, 96, 96, dtype=torch.uint8))
    assert [norm for norm in norms if norm.training] == ran[:1]
    assert [norm for norm in norms if norm.weight.requires_grad] == ran[:1]
