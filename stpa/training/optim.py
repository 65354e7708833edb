"""Parameter groups, optimisers, learning-rate schedules and what is frozen."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from stpa.models.backbones import RGB_CHANNELS, Backbone
from stpa.models.network import ActionNetwork

Frozen = str
"""What of a backbone keeps its weights: none, or of its batch norms all_but_first or all, or the
whole backbone."""

BIAS_RATE, STEM_RATE = 2.0, 5.0
"""TSN's multiples for biases and for a first convolution that takes flow, as its published
solvers have them; the bias of such a convolution gets both."""


def build_optimizer(
    network: ActionNetwork,
    name: str,
    *,
    learning_rate: float,
    new_layer_rate: float,
    pretrained: bool,
    momentum: float,
    weight_decay: float,
    rates: Literal["uniform", "tsn"],
) -> torch.optim.Optimizer:
    """Build "sgd" or "adamw"; new layers learn at `learning_rate * new_layer_rate`.

    New are those of the head and, unless it is `pretrained`, of the backbone. Biases and the
    affine terms of normalisations do not decay. With `rates` "tsn", biases learn twice as fast,
    and a first convolution for other than RGB five times; normalisations do not.
    """
    adapted_stem = [layer for layer in network.backbone.stem if layer.in_channels != RGB_CHANNELS]
    groups: defaultdict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    backbone_rate = 1.0 if pretrained else new_layer_rate
    for part, part_rate in ((network.backbone, backbone_rate), (network.head, new_layer_rate)):
        for module in part.modules():
            for parameter in module.parameters(recurse=False):
                if parameter.requires_grad:
                    multiple = _tsn_rate(parameter, module, adapted_stem) if rates == "tsn" else 1.0
                    rate = learning_rate * part_rate * multiple
                    decay = weight_decay if parameter.ndim > 1 else 0.0
                    groups[rate, decay].append(parameter)
    settings = [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]
    if name == "sgd":
        return torch.optim.SGD(settings, momentum=momentum)
    return torch.optim.AdamW(settings, betas=(momentum, 0.999))


def _tsn_rate(
    parameter: nn.Parameter, module: nn.Module, adapted_stem: Sequence[nn.Module]
) -> float:
    # A normalisation's bias, which TSN does not speed up, stands beside a weight of one axis.
    weight = getattr(module, "weight", parameter)
    is_bias = parameter.ndim == 1 and weight.ndim > 1
    return (BIAS_RATE if is_bias else 1.0) * (STEM_RATE if module in adapted_stem else 1.0)


def build_schedule(
    optimizer: torch.optim.Optimizer,
    name: str,
    num_steps: int,
    milestones: Sequence[float],
    warm_up: float,
) -> LambdaLR:
    """Build a schedule of `SCHEDULES` over `num_steps` optimiser steps.

    `milestones` are shares of the run; `warm_up` is the share of it in which the rate rises from
    nothing, in even steps, before the schedule begins.
    """
    run = Run(num_steps, math.ceil(warm_up * num_steps), tuple(milestones))
    factor = SCHEDULES[name]
    return LambdaLR(
        optimizer,
        lambda step: (step + 1) / run.num_warming if step < run.num_warming else factor(step, run),
    )


class Run(NamedTuple):
    """What a schedule knows of a training."""

    num_steps: int
    num_warming: int
    """Steps in which the rate rises, before the schedule begins."""
    milestones: tuple[float, ...]


def cosine(step: int, run: Run) -> float:
    """Fall to zero in half a cosine."""
    share = (step - run.num_warming) / max(1, run.num_steps - run.num_warming)
    return 0.5 * (1 + math.cos(math.pi * share))


def by_steps(step: int, run: Run) -> float:
    """Go on at a tenth of the rate after each milestone."""
    # Rounded, since 0.28 * 25 is above 7.
    return 0.1 ** sum(step >= round(share * run.num_steps) for share in run.milestones)


SCHEDULES: dict[str, Callable[[int, Run], float]] = {"cosine": cosine, "step": by_steps}
"""From a step of a run to what multiplies the rate there."""


def freeze(backbone: Backbone, which: Frozen) -> None:
    """Stop a part of a backbone from learning and from updating statistics.

    Call before the optimiser is built, and `hold_frozen` after every `train()`.
    """
    for module in _frozen(backbone, which):
        module.requires_grad_(False)


def hold_frozen(backbone: Backbone, which: Frozen) -> None:
    """Put what is frozen back into evaluation mode after `train()`."""
    for module in _frozen(backbone, which):
        module.eval()


def _frozen(backbone: Backbone, which: Frozen) -> Sequence[nn.Module]:
    norms = backbone.batch_norms
    parts = {"none": (), "all_but_first": norms[1:], "all": norms, "backbone": (backbone,)}
    return parts[which]
