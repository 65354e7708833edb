"""What a network says of the positions of a video's frames: attention, and evidence for a class."""

import torch

from stpa.models.heads import Pyramid
from stpa.models.network import ActionNetwork
from stpa.shapes import Float

Maps = Float[torch.Tensor, "frames height width"]
"""Values >= 0."""


def attention_shares(
    network: ActionNetwork, pyramid: Pyramid
) -> Float[torch.Tensor, "frames maps height width"]:
    """Return the attention of each map to each position of all the frames of one video.

    The rows of A (eq. 3), each divided by its sum, as they are of unit norm.
    """
    rows = network.attention_maps(pyramid, network.frame_states(pyramid)).double()
    return rows / rows.sum(dim=(0, 2, 3), keepdim=True)


def attention_maps(network: ActionNetwork, pyramid: Pyramid) -> Maps:
    """Return the mean of `attention_shares` over the maps; the sum is 1."""
    return attention_shares(network, pyramid).mean(dim=1)


def evidence_maps(network: ActionNetwork, pyramid: Pyramid, class_index: int) -> Maps:
    """Return what speaks for a class at each position: the positive part of `Head.evidence`."""
    weights = torch.zeros(len(network.spec.class_names), device=network.mean.device)
    weights[class_index] = 1
    return network.evidence(pyramid, weights).clamp(min=0)


def with_new_head(network: ActionNetwork, seed: int) -> ActionNetwork:
    """Return a network with the same backbone, and a head that has learnt nothing.

    What maps show of it comes from the backbone alone (the randomisation test of Adebayo et al.,
    Sanity Checks for Saliency Maps, NeurIPS 2018).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        renewed = ActionNetwork(network.spec)
    renewed.backbone.load_state_dict(network.backbone.state_dict())
    return renewed.to(network.mean.device).eval()
