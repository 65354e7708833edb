"""The attention's streaming state: any number of frames in constant memory.

STPA's attention maps are a softmax over all positions of all frames, then L2-normalised
(Du et al., ECCV 2018, eq. 3-4). The softmax's denominator cancels in the normalisation:

    M_m = sum_p e^{z_mp} x_p / sqrt(sum_p e^{2 z_mp})

so a set of positions is summed up by two running sums and the maximum that keeps them in
range. States of disjoint sets merge exactly, in any order and any grouping.
"""

from typing import NamedTuple

import torch

from stpa.shapes import Float


class AttentionState(NamedTuple):
    """What the positions seen so far contribute to the d attention maps.

    Leading axes are free: one state a clip, or one a frame to be merged later.
    """

    peak: Float[torch.Tensor, "*batch maps"]
    """The largest score of each map, max_p z_mp."""
    energy: Float[torch.Tensor, "*batch maps"]
    """sum_p e^{2 (z_mp - peak_m)}."""
    weighted: Float[torch.Tensor, "*batch maps channels"]
    """sum_p e^{z_mp - peak_m} x_p."""


def attend(
    scores: Float[torch.Tensor, "*batch maps positions"],
    features: Float[torch.Tensor, "*batch positions channels"],
) -> AttentionState:
    """Sum up a set of positions, in float32 at least."""
    scores = at_least_float32(scores)
    peak = scores.amax(dim=-1)
    weights = (scores - peak.unsqueeze(-1)).exp()
    return AttentionState(peak, weights.square().sum(dim=-1), weights @ features.to(weights.dtype))


def merge(states: AttentionState, dim: int) -> AttentionState:
    """Combine states of disjoint sets of positions, stacked along the batch axis `dim` (>= 0)."""
    peak = states.peak.amax(dim=dim, keepdim=True)
    scale = (states.peak - peak).exp()
    return AttentionState(
        peak.squeeze(dim),
        (states.energy * scale.square()).sum(dim=dim),
        (states.weighted * scale.unsqueeze(-1)).sum(dim=dim),
    )


def finalise(state: AttentionState) -> Float[torch.Tensor, "*batch maps channels"]:
    """Return the attention maps M of eq. 4."""
    return state.weighted / state.energy.sqrt().unsqueeze(-1)


def attention_weights(
    scores: Float[torch.Tensor, "*batch maps positions"], state: AttentionState
) -> Float[torch.Tensor, "*batch maps positions"]:
    """Return the rows of A (eq. 3) for positions whose scores are at hand.

    `state` covers all positions of the clip, of which these may be a part; over all of them
    each map's weights have unit L2 norm.
    """
    shifted = scores.to(state.peak.dtype) - state.peak.unsqueeze(-1)
    return shifted.exp() / state.energy.sqrt().unsqueeze(-1)


def at_least_float32(values: torch.Tensor) -> torch.Tensor:
    """Widen half precision; leave float32 and float64 as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
