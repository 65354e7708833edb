"""Interaction-aware spatio-temporal pyramid attention (Du et al., ECCV 2018, section 3).

https://doi.org/10.1007/978-3-030-01270-0_23
"""

from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import nn
from torch.nn import functional as F

from stpa.models.aggregation import at_least_float32
from stpa.shapes import Float

FUSIONS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "maximum": torch.maximum,
    "sum": torch.add,
    "product": torch.mul,
}
"""F of eq. 3, from two scales' scores to one."""

DOWNSAMPLINGS: dict[str, Callable[..., torch.Tensor]] = {
    "max": F.adaptive_max_pool2d,
    "average": F.adaptive_avg_pool2d,
}
"""R of eq. 1, from a map to a given height and width."""


INITIAL_STD = 0.01
"""Of the attention's weights."""


class PyramidScores(nn.Module):
    """Score every position of a pyramid for each of d attention maps (eq. 1-3, before softmax).

    The parameters depend on the channels and on d alone, so frames of any number and size fit.
    """

    def __init__(
        self, channels: Sequence[int], num_maps: int, *, fusion: str, downsampling: str
    ) -> None:
        """Take `channels` from the bottom of the pyramid to its top; `num_maps` is d."""
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(width, num_maps) for width in channels)
        self.fuse = FUSIONS[fusion]
        self.downsample = DOWNSAMPLINGS[downsampling]
        self._initialise()

    def _initialise(self) -> None:
        """Start near uniform attention, at scores of 1: a product then passes each scale's
        gradient on unscaled, where scores near 0 would mute one another. (The paper is silent.)
        """
        for projection in self.projections:
            assert isinstance(projection, nn.Linear)
            nn.init.normal_(projection.weight, std=INITIAL_STD)
            nn.init.ones_(projection.bias)

    def forward(
        self, pyramid: Sequence[Float[torch.Tensor, "frames _channels _height _width"]]
    ) -> list[Float[torch.Tensor, "frames maps positions"]]:
        """Return y^j of each scale j (eq. 2), bottom to top, at the top map's positions."""
        size = pyramid[-1].shape[-2:]
        scores = []
        for projection, maps in zip(self.projections, pyramid, strict=True):
            positions = self.downsample(maps, size).flatten(2).transpose(1, 2)
            scores.append(projection(positions).transpose(1, 2))
        return scores

    def fused(
        self, scale_scores: Sequence[Float[torch.Tensor, "frames maps positions"]]
    ) -> Float[torch.Tensor, "frames maps positions"]:
        """Return z, the scores of all scales fused (eq. 3, inside the softmax).

        Fuses in float32 at least: products of half-precision scores overflow.
        """
        return reduce(self.fuse, [at_least_float32(scores) for scores in scale_scores])
