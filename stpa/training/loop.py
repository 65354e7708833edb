"""One optimiser step, in plain PyTorch."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from stpa.errors import ModelError
from stpa.models.aggregation import at_least_float32
from stpa.models.heads import HeadOutput
from stpa.shapes import Float
from stpa.training.regularise import mix_up, smooth_labels

ANSWERS = "answers"
"""The only metric of a step with a value per class."""

Batch = Mapping[str, torch.Tensor]
"""frames uint8 [clips, time, channels, height, width], or features float16 [clips, time, values];
target float32 [clips, classes]."""


@dataclass(frozen=True)
class StepOptions:
    """How a step is computed; see `stpa.config.TrainConfig`."""

    multi_label: bool
    """Whether a clip may show several classes or none; else it shows exactly one."""
    loss_weights: Mapping[str, float]
    """Of the head's own losses (`HeadOptions.loss_weights`)."""
    gradient_clip: float
    label_smoothing: float
    mixup_alpha: float
    precision: Literal["float32", "bfloat16"]
    clips_at_once: int | None
    frames_at_once: int | None


def train_step(
    network: nn.Module,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    options: StepOptions,
    gradient_weight: float = 1.0,
) -> dict[str, Float[torch.Tensor, "*classes"]]:
    """Take one optimiser step; return the loss, its terms and the other metrics, as means over
    this process's clips, and the gradient's norm over all processes, as `gradient_norm`.

    `network` is an `ActionNetwork`, bare or wrapped for distributed training, in training mode;
    its device is that of `batch`. `gradient_weight` is the batch's part in the clips of all
    processes, times their number: 1 where all have as many, 0 where none of these count. Nothing
    here waits for the device, but mixup.

    Where memory runs out before any weight has moved (`is_out_of_memory`), the same step can be
    taken again with fewer clips at once; raises ModelError where it runs out later.
    """
    optimizer.zero_grad(set_to_none=True)
    # Regularised as a whole: the parts that memory asks for must not change which clips are mixed.
    frames, targets = _regularise(batch["frames"], batch["target"], options)
    num_clips = len(targets)
    size = options.clips_at_once or num_clips
    means: dict[str, torch.Tensor] = {}
    for start in range(0, num_clips, size):
        part = slice(start, start + size)
        is_last = start + size >= num_clips
        with nullcontext() if is_last else _unsynchronised(network):
            seen = _forward(network, frames[part], targets[part], batch["target"][part], options)
            share = len(targets[part]) / num_clips
            (seen["loss"] * (share * gradient_weight)).backward()
        for name, value in seen.items():
            means[name] = means.get(name, 0.0) + value.detach() * share
    norm = nn.utils.clip_grad_norm_(network.parameters(), options.gradient_clip)
    try:
        optimizer.step()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(  # some weights may have moved: this step cannot be taken again
            "memory is short of what the optimizer keeps of each weight: choose a smaller "
            "model.backbone, or let fewer trainings share the machine"
        ) from error
    return means | {"gradient_norm": norm}


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether an allocation failed, of torch on a GPU or on a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _regularise(
    frames: torch.Tensor, targets: torch.Tensor, options: StepOptions
) -> tuple[torch.Tensor, torch.Tensor]:
    if options.mixup_alpha:
        frames, targets = mix_up(frames, targets, options.mixup_alpha)
    if options.label_smoothing:
        targets = smooth_labels(targets, options.label_smoothing, multi_label=options.multi_label)
    return frames, targets


def _forward(
    network: nn.Module,
    frames: torch.Tensor,
    targets: torch.Tensor,
    labels: torch.Tensor,
    options: StepOptions,
) -> dict[str, torch.Tensor]:
    """Return the loss, its terms and the other metrics of some clips, as means over them.

    `labels` are the targets before any regularisation, which accuracy is measured by.
    """
    is_half = options.precision == "bfloat16"
    with torch.autocast(frames.device.type, torch.bfloat16, enabled=is_half):
        output: HeadOutput = network(frames, frames_at_once=options.frames_at_once)
    terms = loss_terms(output, targets, multi_label=options.multi_label)
    return {
        **terms,
        **output.metrics,
        "loss": total_loss(terms, options.loss_weights),
        "top1": top1(output.logits, labels),
        ANSWERS: answers(output.logits),
    }


def _unsynchronised(network: nn.Module) -> AbstractContextManager[None]:
    """Sum gradients up in this process alone, until the last part of a batch."""
    return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()


def loss_terms(
    output: HeadOutput, targets: Float[torch.Tensor, "clips classes"], *, multi_label: bool
) -> dict[str, torch.Tensor]:
    """Return the unweighted terms of the loss, without the weight decay, as means over clips.

    `targets` are 1 for each class that a clip shows, else 0. A clip has one prediction after its
    K frames are aggregated, so the 1/K and the sum over frames of eq. 9 are left with a single
    term. Where clips have any number of labels, that term is the binary cross entropy, as a mean
    over classes too.
    """
    classify = F.binary_cross_entropy_with_logits if multi_label else F.cross_entropy
    return {
        "classification": classify(at_least_float32(output.logits), targets),
        **output.terms,
    }


def top1(
    logits: Float[torch.Tensor, "clips classes"], targets: Float[torch.Tensor, "clips classes"]
) -> Float[torch.Tensor, ""]:
    """Return the share of clips whose highest logit is of a class that they show."""
    return targets.gather(1, logits.argmax(dim=1, keepdim=True)).mean()


def answers(logits: Float[torch.Tensor, "clips classes"]) -> Float[torch.Tensor, " classes"]:
    """Return the share of clips whose highest logit is each class's."""
    return F.one_hot(logits.argmax(dim=1), logits.shape[1]).to(torch.float32).mean(dim=0)


def total_loss(terms: Mapping[str, torch.Tensor], weights: Mapping[str, float]) -> torch.Tensor:
    """Weigh the terms (eq. 9); a head's loss of weight 0 has no part in the gradient."""
    loss = terms["classification"]
    for name, weight in weights.items():
        if weight:
            loss = loss + weight * terms[name]
    return loss
