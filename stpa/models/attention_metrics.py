"""How a network attends, in metrics of each epoch.

They are read off the streaming state, as the losses on attention are. Each is a mean over clips,
and over maps, pairs of maps or scales.
"""

import torch

from stpa.models.attention_losses import Attention, map_cosines, off_diagonal_sum
from stpa.shapes import Float


@torch.no_grad()
def attention_metrics(attention: Attention) -> dict[str, Float[torch.Tensor, ""]]:
    """Return each metric by its name in MLflow."""
    return {
        "attention_entropy": entropy(attention),
        "attention_positions": effective_positions(attention),
        "attention_likeness": likeness(attention),
        "attention_score_peak": score_peak(attention),
    }


def entropy(attention: Attention) -> Float[torch.Tensor, ""]:
    """Return how evenly the maps attend over a clip's positions, in [0, 1].

    The Renyi entropy of order 2 of eq. 3's softmax, -log sum_p p^2, as a share of what even
    attention has: the logarithm of the number of positions.
    """
    positions = attention.losses.num_positions
    nats = _effective(attention).log().mean(dim=-1)
    # A single position's is 0 whatever it is divided by: by no small number, for its rounding.
    return (nats / positions.clamp_min(2).log()).mean()


def effective_positions(attention: Attention) -> Float[torch.Tensor, ""]:
    """Return how many of a clip's positions a map attends to, 1 / sum_p p^2: from 1 to all."""
    return _effective(attention).mean()


def likeness(attention: Attention) -> Float[torch.Tensor, ""]:
    """Return the cosine of two maps' weights, in [0, 1]: 1 where all maps are the same.

    A single map is like itself: 1.
    """
    cosines = map_cosines(attention)
    num_maps = cosines.shape[-1]
    if num_maps == 1:
        return cosines.mean()
    return (off_diagonal_sum(cosines) / (num_maps * (num_maps - 1))).mean()


def score_peak(attention: Attention) -> Float[torch.Tensor, ""]:
    """Return how far the highest score of a map stands above the others, nats, at least 0.

    The logarithm of the largest weight over that of even attention: log(P max_p p), P positions.
    """
    positions = attention.losses.num_positions.unsqueeze(-1)
    return (positions.log() - attention.state.total.log()).mean()


def _effective(attention: Attention) -> Float[torch.Tensor, "clips maps"]:
    return attention.state.total.square() / attention.state.energy
