"""The losses on attention of Du et al., ECCV 2018, eq. 6-8, as printed and repaired.

They are read off the streaming state, and so cost no pass over the positions. Each is a mean
over clips.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from stpa.models.aggregation import LEAST_POWER, AttentionState, LossState, unit_norm_maps
from stpa.shapes import Float


class Attention(NamedTuple):
    """The attention of a batch of clips, summed up over their positions."""

    state: AttentionState
    losses: LossState


Loss = Callable[[Attention], Float[torch.Tensor, ""]]


def interactive_loss(attention: Attention) -> Float[torch.Tensor, ""]:
    """Return l_interactive (eq. 6). Has no lower bound.

    Its first term, the trace of A X X^T A^T, is the squared norm of M = A X.
    """
    return (_overlap(attention) - _captured(attention)).mean()


def bounded_interactive_loss(attention: Attention) -> Float[torch.Tensor, ""]:
    """Return l_interactive of the shares of what there is: in [-d, 1].

    The first term is the share of the features' power that the maps capture, at most 1 in all
    where the maps do not overlap; larger features do not lower it. The second is a mean. Where all
    features are 0, as a network that has nothing to learn may end, no share is captured.
    """
    num_maps = attention.state.peak.shape[-1]
    overlap = _overlap(attention) / max(1, num_maps * (num_maps - 1))
    return (overlap - _captured(attention) / attention.losses.power.clamp_min(LEAST_POWER)).mean()


def attention_loss(attention: Attention) -> Float[torch.Tensor, ""]:
    """Return l_attn (eq. 7-8).

    The `a` of eq. 7 is taken as L2-normalised, as section 3.1 leaves it, so that its sum of
    squares is 1 in the expanded (a - softmax(y))^2.
    """
    losses, cosine, norm = attention.losses, *_scales(attention)
    num_scales, num_maps = norm.shape[-2:]
    distance = (1 + norm.square() - 2 * norm * cosine).sum(dim=(-2, -1))
    return (num_scales * num_maps * losses.num_positions - distance).sqrt().mean()


def cosine_attention_loss(attention: Attention) -> Float[torch.Tensor, ""]:
    """Return the mean cosine between each scale's own map and the fused one, in [0, 1].

    Eq. 8 grows with the number of positions and hardly moves with the maps; this says the same,
    that each scale should look elsewhere, with a range that does not depend on the input.
    """
    cosine, _ = _scales(attention)
    return cosine.mean()


def map_cosines(attention: Attention) -> Float[torch.Tensor, "clips maps maps"]:
    """Return A A^T: the cosine of each pair of maps, at least 0, and 1 on the diagonal."""
    norm = attention.state.energy.sqrt()
    return attention.losses.gram / (norm.unsqueeze(-1) * norm.unsqueeze(-2))


def off_diagonal_sum(
    pairs: Float[torch.Tensor, "clips maps maps"],
) -> Float[torch.Tensor, " clips"]:
    """Return the sum over all pairs of different maps, each counted twice."""
    return pairs.sum(dim=(-2, -1)) - pairs.diagonal(dim1=-2, dim2=-1).sum(dim=-1)


def _captured(attention: Attention) -> Float[torch.Tensor, " clips"]:
    """Return tr(A X X^T A^T)."""
    return unit_norm_maps(attention.state).square().sum(dim=(-2, -1))


def _overlap(attention: Attention) -> Float[torch.Tensor, " clips"]:
    """Return the sum of the squared off-diagonal entries of A A^T, whose diagonal is 1."""
    return off_diagonal_sum(map_cosines(attention).square())


def _scales(
    attention: Attention,
) -> tuple[
    Float[torch.Tensor, "clips scales maps"],
    Float[torch.Tensor, "clips scales maps"],
]:
    """Return the cosine of a_m and softmax(y^j)_m, and the L2 norm of the latter."""
    state, losses = attention
    root = losses.scale_energy.sqrt()
    cosine = losses.cross / (state.energy.sqrt().unsqueeze(-2) * root)
    return cosine, root / losses.scale_total


INTERACTIVE_LOSSES: dict[str, Loss] = {
    "paper": interactive_loss,
    "bounded": bounded_interactive_loss,
}
ATTENTION_LOSSES: dict[str, Loss] = {"paper": attention_loss, "cosine": cosine_attention_loss}
