"""Parameter groups, optimisers, learning-rate schedules and frozen batch norms."""

import math
from functools import partial

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from stpa.models.network import ActionNetwork

WARM_UP_SHARE = 0.1
FINAL_DROPS = (1 / 2, 5 / 6)


def build_optimizer(
    network: ActionNetwork,
    name: str,
    *,
    learning_rate: float,
    new_layer_rate: float,
    momentum: float,
    weight_decay: float,
) -> torch.optim.Optimizer:
    """Build "sgd" or "adamw"; the head learns at `learning_rate * new_layer_rate`.

    Biases and the affine terms of normalisations do not decay.
    """
    groups = [
        {
            "params": [
                p for p in module.parameters() if p.requires_grad and (p.ndim > 1) is decays
            ],
            "lr": learning_rate * rate,
            "weight_decay": weight_decay if decays else 0.0,
        }
        for module, rate in ((network.backbone, 1.0), (network.head, new_layer_rate))
        for decays in (True, False)
    ]
    if name == "sgd":
        return torch.optim.SGD(groups, momentum=momentum)
    return torch.optim.AdamW(groups, betas=(momentum, 0.999))


def build_schedule(optimizer: torch.optim.Optimizer, name: str, num_steps: int) -> LambdaLR:
    """Build "cosine" or "step" over `num_steps` optimiser steps (`TrainConfig.schedule`)."""
    factor = {"cosine": _cosine, "step": _step}[name]
    return LambdaLR(optimizer, partial(factor, num_steps=num_steps))


def _cosine(step: int, num_steps: int) -> float:
    warm_up = math.ceil(WARM_UP_SHARE * num_steps)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, num_steps - warm_up)))


def _step(step: int, num_steps: int) -> float:
    return 0.1 ** sum(step >= share * num_steps for share in FINAL_DROPS)


def freeze_batch_norm(network: nn.Module, which: str) -> None:
    """Stop "all" batch norms, or "all_but_first", from learning and from updating statistics.

    Call before the optimiser is built, and `hold_frozen_batch_norm` after every `train()`.
    """
    for norm in _frozen_norms(network, which):
        norm.requires_grad_(False)


def hold_frozen_batch_norm(network: nn.Module, which: str) -> None:
    """Put the frozen batch norms back into evaluation mode after `network.train()`."""
    for norm in _frozen_norms(network, which):
        norm.eval()


def _frozen_norms(network: nn.Module, which: str) -> list[nn.Module]:
    norms: list[nn.Module] = [
        module for module in network.modules() if isinstance(module, nn.BatchNorm2d)
    ]
    return {"none": [], "all_but_first": norms[1:], "all": norms}[which]
