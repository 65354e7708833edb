"""How good a network in training is, on videos that it does not learn from."""

import torch
from torch import distributed

from stpa.average_precision import mean_average_precision
from stpa.data.clips import FixedClips
from stpa.data.loader import ClipLoader
from stpa.models.network import ActionNetwork
from stpa.training.loop import top1


def validation_metric(multi_label: bool) -> str:
    """Return the name of the metric that judges an epoch, in [0, 1]."""
    return "validation/map" if multi_label else "validation/top1"


@torch.inference_mode()
def validate(
    network: ActionNetwork, loader: ClipLoader, world_size: int, frames_at_once: int | None
) -> dict[str, float]:
    """Judge the network by the clips of `loader`, which are `FixedClips`; leave it in eval mode.

    Of `world_size` data-parallel processes, each loads its share of the clips and all get the
    figure of all clips.
    """
    assert isinstance(loader.clips, FixedClips)
    network.eval()
    if world_size > 1:  # batch norms took statistics of their own; rank 0's are those that last
        for buffer in network.buffers():
            distributed.broadcast(buffer, src=0)
    targets = loader.clips.targets
    logits = torch.zeros_like(targets, device=network.mean.device)
    for batch in loader:
        frames = batch["frames"].to(logits.device, non_blocking=True)
        logits[batch["index"]] = network(frames, frames_at_once=frames_at_once).logits
    if world_size > 1:
        distributed.all_reduce(logits)
    logits = logits.cpu()
    multi_label = network.spec.multi_label
    figure = (
        mean_average_precision(logits.numpy(), targets.numpy().astype(bool))
        if multi_label
        else top1(logits, targets).item()
    )
    return {validation_metric(multi_label): figure}
