"""The attention's streaming state: any number of frames in constant memory.

STPA's attention maps are a softmax over all positions of all frames, then L2-normalised
(Du et al., ECCV 2018, eq. 3-4). The softmax's denominator cancels in the normalisation:

    M_m = sum_p e^{z_mp} x_p / sqrt(sum_p e^{2 z_mp})

so a set of positions is summed up by a few running sums, and the maximum that keeps them in
range. States of disjoint sets merge exactly, in any order and any grouping. The losses on
attention (eq. 6-8) stream in the same way, by sums of their own.

The peaks are constants to autograd: everything read off a state is the same whatever they are.
"""

from typing import NamedTuple

import torch

from stpa.shapes import Float

LEAST_POWER = 1e-6
"""What a squared norm of features is taken for at least, where something is divided by it: features
that are all 0 give a share of 0, and gradients stay finite."""


class AttentionState(NamedTuple):
    """What the positions seen so far contribute to the d attention maps.

    Leading axes are free: one state a clip, or one a frame to be merged later.
    """

    peak: Float[torch.Tensor, "*batch maps"]
    """The largest score of each map, max_p z_mp."""
    total: Float[torch.Tensor, "*batch maps"]
    """sum_p e^{z_mp - peak_m}."""
    energy: Float[torch.Tensor, "*batch maps"]
    """sum_p e^{2 (z_mp - peak_m)}."""
    weighted: Float[torch.Tensor, "*batch maps channels"]
    """sum_p e^{z_mp - peak_m} x_p."""


class LossState(NamedTuple):
    """What the positions seen so far contribute to the losses on attention.

    Its sums over z are relative to the peaks of the `AttentionState` of the same positions.
    """

    gram: Float[torch.Tensor, "*batch maps maps"]
    """sum_p e^{z_mp - peak_m} e^{z_np - peak_n}."""
    power: Float[torch.Tensor, "*batch"]
    """sum_p |x_p|^2."""
    num_positions: Float[torch.Tensor, "*batch"]
    scale_peak: Float[torch.Tensor, "*batch scales maps"]
    """The largest score of each scale j alone, max_p y^j_mp."""
    scale_total: Float[torch.Tensor, "*batch scales maps"]
    """sum_p e^{y^j_mp - scale_peak_jm}."""
    scale_energy: Float[torch.Tensor, "*batch scales maps"]
    """sum_p e^{2 (y^j_mp - scale_peak_jm)}."""
    cross: Float[torch.Tensor, "*batch scales maps"]
    """sum_p e^{z_mp - peak_m} e^{y^j_mp - scale_peak_jm}."""


class Exponentials(NamedTuple):
    """The exponentials of a set of positions' scores, in float32 at least."""

    peak: Float[torch.Tensor, "*batch maps"]
    weights: Float[torch.Tensor, "*batch maps positions"]
    """e^{z_mp - peak_m}."""


def exponentials(scores: Float[torch.Tensor, "*batch maps positions"]) -> Exponentials:
    """Return the exponentials of all positions' scores."""
    scores = at_least_float32(scores)
    peak = scores.detach().amax(dim=-1)
    return Exponentials(peak, (scores - peak.unsqueeze(-1)).exp())


def attend(
    attention: Exponentials, features: Float[torch.Tensor, "*batch positions channels"]
) -> AttentionState:
    """Sum up a set of positions."""
    peak, weights = attention
    with _full_precision(weights):
        weighted = weights @ features.to(weights.dtype)
    return AttentionState(peak, weights.sum(dim=-1), weights.square().sum(dim=-1), weighted)


def sum_losses(
    attention: Exponentials,
    each_scale: Exponentials,
    features: Float[torch.Tensor, "*batch positions channels"],
) -> LossState:
    """Sum up the same positions for the losses.

    `each_scale` are those of y^j (eq. 2), unfused: an axis of scales precedes the maps.
    """
    weights = attention.weights
    scale_peak, scale_weights = each_scale
    powers = features.to(weights.dtype).square().sum(dim=-1)
    with _full_precision(weights):
        gram = weights @ weights.mT
    return LossState(
        gram,
        powers.sum(dim=-1),
        powers.new_full(powers.shape[:-1], powers.shape[-1]),
        scale_peak,
        scale_weights.sum(dim=-1),
        scale_weights.square().sum(dim=-1),
        (weights.unsqueeze(-3) * scale_weights).sum(dim=-1),
    )


def merge(states: AttentionState, dim: int) -> AttentionState:
    """Combine states of disjoint sets of positions, stacked along the batch axis `dim` (>= 0)."""
    peak, scale = _rescaling(states.peak, dim)
    return AttentionState(
        peak,
        (states.total * scale).sum(dim=dim),
        (states.energy * scale.square()).sum(dim=dim),
        (states.weighted * scale.unsqueeze(-1)).sum(dim=dim),
    )


def merge_losses(losses: LossState, peaks: torch.Tensor, dim: int) -> LossState:
    """Combine the losses' sums of disjoint sets of positions, stacked along the batch axis `dim`.

    `peaks` are those of the `AttentionState` stacked in the same way.
    """
    _, scale = _rescaling(peaks, dim)
    scale_peak, scale_of_scales = _rescaling(losses.scale_peak, dim)
    return LossState(
        (losses.gram * scale.unsqueeze(-1) * scale.unsqueeze(-2)).sum(dim=dim),
        losses.power.sum(dim=dim),
        losses.num_positions.sum(dim=dim),
        scale_peak,
        (losses.scale_total * scale_of_scales).sum(dim=dim),
        (losses.scale_energy * scale_of_scales.square()).sum(dim=dim),
        (losses.cross * scale_of_scales * scale.unsqueeze(-2)).sum(dim=dim),
    )


def unit_norm_maps(state: AttentionState) -> Float[torch.Tensor, "*batch maps channels"]:
    """Return the attention maps M of eq. 4: each map's weights have unit L2 norm.

    A uniform map multiplies by the square root of the number of its positions.
    """
    return state.weighted / state.energy.sqrt().unsqueeze(-1)


def unit_sum_maps(state: AttentionState) -> Float[torch.Tensor, "*batch maps channels"]:
    """Return maps whose weights sum to one, for any number of frames: eq. 3's softmax as it is."""
    return state.weighted / state.total.unsqueeze(-1)


def attention_weights(
    scores: Float[torch.Tensor, "*batch maps positions"], state: AttentionState
) -> Float[torch.Tensor, "*batch maps positions"]:
    """Return the rows of A (eq. 3) for positions whose scores are at hand.

    `state` covers all positions of the clip, of which these may be a part; over all of them
    each map's weights have unit L2 norm.
    """
    shifted = at_least_float32(scores) - state.peak.unsqueeze(-1)
    return shifted.exp() / state.energy.sqrt().unsqueeze(-1)


def at_least_float32(values: torch.Tensor) -> torch.Tensor:
    """Widen half precision; leave float32 and float64 as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _rescaling(peaks: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the joint peaks, and the factors from each state's own peaks to them."""
    joint = peaks.amax(dim=dim, keepdim=True)
    return joint.squeeze(dim), (peaks - joint).exp()


def _full_precision(values: torch.Tensor) -> torch.autocast:
    """Keep autocast from halving the precision of a product of matrices."""
    return torch.autocast(values.device.type, enabled=False)
