"""RAFT (Teed, Deng, ECCV 2020): a learnt estimator, of torchvision, by weights from a file."""

from functools import cache

import torch
from torch import nn
from torch.nn import functional as F

from stpa.errors import ModelError, first_line
from stpa.optical_flow.estimators.base import Estimator, Flows, Frames
from stpa.weights import read_weights

NUM_UPDATES = 12
"""Refinements of the flow: torchvision's default. Its own evaluations take 24 or 32."""
STRIDE = 8
"""Of its features, px: images are padded to a multiple."""
SMALLEST_SIDE = 128
"""px; the coarsest of its correlation volumes would be empty below."""


def estimator(weights: str) -> Estimator:
    """Return RAFT (large) with `weights`: a path or an fsspec URL of torchvision's state dict."""
    if not isinstance(weights, str):
        raise ValueError(f"weights {weights!r} is no path or URL")

    @torch.inference_mode()
    def estimate(frames: Frames) -> Flows:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        network = _load(weights, device)
        images = torch.from_numpy(frames).to(device).permute(0, 3, 1, 2) / 127.5 - 1
        height, width = images.shape[-2:]
        padding = (0, _missing(width), 0, _missing(height))
        images = F.pad(images, padding, mode="replicate")
        # One pair at a time: the correlations of all pixels with all others are large.
        flows = [
            network(images[i : i + 1], images[i + 1 : i + 2], num_flow_updates=NUM_UPDATES)[-1]
            for i in range(len(images) - 1)
        ]
        return torch.cat(flows)[..., :height, :width].float().cpu().numpy()

    return estimate


def _missing(size: int) -> int:
    return max(SMALLEST_SIDE, -(-size // STRIDE) * STRIDE) - size


@cache
def _load(weights: str, device: str) -> nn.Module:
    """Read the weights once for all videos of a process."""
    from torchvision.models.optical_flow import raft_large

    network = raft_large(weights=None)
    try:
        network.load_state_dict(read_weights(weights))
    except RuntimeError as error:
        raise ModelError(
            f"optical_flow.options.weights {weights} is not torchvision's raft_large: "
            f"{first_line(error)}"
        ) from error
    return network.to(device).eval()
