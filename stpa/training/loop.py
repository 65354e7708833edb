"""One epoch of training, in plain PyTorch."""

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LRScheduler

from stpa.errors import ModelError
from stpa.models.heads import HeadOutput
from stpa.shapes import Float
from stpa.training.losses import ATTENTION_LOSSES, INTERACTIVE_LOSSES

Batch = Mapping[str, torch.Tensor]
"""frames uint8 [clips, time, channels, height, width], target float32 [clips, classes]."""


@dataclass(frozen=True)
class LossOptions:
    """What the losses are, and their weights in eq. 9."""

    interactive: str
    """A name in `INTERACTIVE_LOSSES`."""
    interactive_weight: float
    """beta."""
    attention: str
    """A name in `ATTENTION_LOSSES`."""
    attention_weight: float
    """gamma."""
    multi_label: bool
    """Whether a clip may show several classes or none; else it shows exactly one."""


def train_epoch(
    network: nn.Module,
    batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    schedule: LRScheduler,
    *,
    losses: LossOptions,
    gradient_clip: float,
    frames_at_once: int | None = None,
    device: torch.device,
) -> dict[str, float]:
    """Train over `batches` once; return this process's means over clips, and its speed.

    `network` is an `ActionNetwork`, bare or wrapped for distributed training, in training mode.
    """
    totals: dict[str, float] = {}
    num_clips = 0
    started = waiting_since = time.perf_counter()
    waited = 0.0
    for batch in batches:
        waited += time.perf_counter() - waiting_since
        targets = batch["target"].to(device, non_blocking=True)
        frames = batch["frames"].to(device, non_blocking=True)
        output: HeadOutput = network(frames, frames_at_once=frames_at_once)
        terms = loss_terms(output, targets, losses)
        loss = total_loss(terms, losses)
        if not math.isfinite(loss.item()):
            raise ModelError(
                f"the loss is {loss.item()} after {num_clips} clips of this epoch: "
                "lower the stream's learning_rate"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), gradient_clip)
        optimizer.step()
        schedule.step()

        terms |= {"loss": loss, "top1": top1(output.logits, targets)}
        for name, value in terms.items():
            totals[name] = totals.get(name, 0.0) + value.item() * len(targets)
        num_clips += len(targets)
        waiting_since = time.perf_counter()
    seconds = time.perf_counter() - started
    return {name: total / num_clips for name, total in totals.items()} | {
        # The backbone's, which biases, an adapted stem and new layers multiply.
        "learning_rate": min(group["lr"] for group in optimizer.param_groups),
        "clips_per_second": num_clips / seconds,
        "share_waiting_for_data": waited / seconds,
    }


def loss_terms(
    output: HeadOutput, targets: Float[torch.Tensor, "clips classes"], options: LossOptions
) -> dict[str, torch.Tensor]:
    """Return the unweighted terms of eq. 9, without the weight decay, as means over clips.

    `targets` are 1 for each class that a clip shows, else 0. A clip has one prediction after its
    K frames are aggregated, so the 1/K and the sum over frames of eq. 9 are left with a single
    term. Where clips have any number of labels, that term is the binary cross entropy, as a mean
    over classes too.
    """
    zero = output.logits.new_zeros(())
    terms = {"interactive": zero, "attention": zero}
    if output.attention is not None:
        terms = {
            "interactive": INTERACTIVE_LOSSES[options.interactive](output.attention),
            "attention": ATTENTION_LOSSES[options.attention](output.attention),
        }
    classify = F.binary_cross_entropy_with_logits if options.multi_label else F.cross_entropy
    return {"classification": classify(output.logits, targets)} | terms


def top1(
    logits: Float[torch.Tensor, "clips classes"], targets: Float[torch.Tensor, "clips classes"]
) -> Float[torch.Tensor, ""]:
    """Return the share of clips whose highest logit is of a class that they show."""
    return targets.gather(1, logits.argmax(dim=1, keepdim=True)).mean()


def total_loss(terms: Mapping[str, torch.Tensor], options: LossOptions) -> torch.Tensor:
    """Weigh the terms of eq. 9; one of weight 0 has no part in the gradient."""
    loss = terms["classification"]
    for name, weight in (
        ("interactive", options.interactive_weight),
        ("attention", options.attention_weight),
    ):
        if weight:
            loss = loss + weight * terms[name]
    return loss
