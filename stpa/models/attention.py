"""Interaction-aware spatio-temporal pyramid attention (Du et al., ECCV 2018, section 3).

https://doi.org/10.1007/978-3-030-01270-0_23
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import nn
from torch.nn import functional as F

from stpa.models.aggregation import LEAST_POWER, at_least_float32
from stpa.shapes import Float

Size = tuple[int, int]
"""Height and width."""

FUSIONS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "maximum": torch.maximum,
    "sum": torch.add,
    "product": torch.mul,
}
"""F of eq. 3, from two scales' scores to one."""


class Pool(nn.Module):
    """R of eq. 1 without weights, over what a position of the top covers."""

    def __init__(self, pool: Callable[[torch.Tensor, Size], torch.Tensor]) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, maps: torch.Tensor, size: Size) -> torch.Tensor:
        return self.pool(at_least_float32(maps), size)


class StridedConvolution(nn.Module):
    """R of eq. 1 as a learnt filter a channel, as wide as its stride; starts as the mean.

    The paper tries "convolution" and says no more. One that mixes channels too would repeat what
    eq. 2 does next, at up to 10 million weights a scale.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.filter = nn.Conv2d(channels, channels, stride, stride, groups=channels, bias=False)
        nn.init.constant_(self.filter.weight, 1 / stride**2)

    def forward(self, maps: torch.Tensor, size: Size) -> torch.Tensor:
        return F.adaptive_avg_pool2d(self.filter(at_least_float32(maps)), size)


POOLINGS: dict[str, Callable[[torch.Tensor, Size], torch.Tensor]] = {
    "max": F.adaptive_max_pool2d,  # the paper prefers it
    "average": F.adaptive_avg_pool2d,
}
"""R of eq. 1 where it learns nothing. A map that has the size already stays as it is."""

DOWNSAMPLINGS: dict[str, Callable[[int, int], nn.Module]] = {
    "max": lambda channels, stride: Pool(POOLINGS["max"]),
    "average": lambda channels, stride: Pool(POOLINGS["average"]),
    "convolution": StridedConvolution,
}
"""R of eq. 1, built from a scale's channels and its stride to the top layer; it takes a map
[frames, channels, height, width] and the size to reduce it to."""


def as_they_are(maps: torch.Tensor) -> torch.Tensor:
    """Return the features as eq. 2 takes them: scores grow with their size."""
    return maps


def unit_power(
    maps: Float[torch.Tensor, "frames channels height width"],
) -> Float[torch.Tensor, "frames channels height width"]:
    """Divide each frame's features by their root mean square norm over the frame's positions.

    Eq. 2 sums over channels, so raw scores grow with the features' size and with the root of
    their number: on pretrained networks they start uneven, and run away within some steps.
    Each frame is divided by a number of its own, so that states of frames still merge exactly.
    """
    mean_square = maps.square().sum(dim=1, keepdim=True).mean(dim=(2, 3), keepdim=True)
    return maps * mean_square.clamp_min(LEAST_POWER).rsqrt()


def unit_deviation(
    maps: Float[torch.Tensor, "frames channels height width"],
) -> Float[torch.Tensor, "frames channels height width"]:
    """Give each position's features a mean of 0 and a norm of 1 over the channels.

    A layer normalisation without weights (Ba et al., 2016), divided by the root of the number of
    channels: what all channels of a position share moves no score, and a position with small
    features is scored like one with large features. Each position is normalised by itself, so that
    states of positions still merge exactly.
    """
    centred = maps - maps.mean(dim=1, keepdim=True)
    power = centred.square().sum(dim=1, keepdim=True)
    return centred * power.clamp_min(LEAST_POWER).rsqrt()


@dataclass(frozen=True)
class ScoreNorm:
    """What is done to the features before eq. 2, and the weights' deviation that suits it."""

    normalise: Callable[[torch.Tensor], torch.Tensor]
    initial_std: float


SCORE_NORMS = {
    "none": ScoreNorm(as_they_are, initial_std=0.01),  # as printed
    # Scores of 1 +- 0.1 on any backbone:
    "rms": ScoreNorm(unit_power, initial_std=0.1),
    "layer": ScoreNorm(unit_deviation, initial_std=0.1),
}


class PyramidScores(nn.Module):
    """Score every position of a pyramid for each of d attention maps (eq. 1-3, before softmax).

    The parameters depend on the channels and on d alone, so frames of any number and size fit.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        num_maps: int,
        *,
        fusion: str,
        downsampling: str,
        score_norm: str,
    ) -> None:
        """Take `channels`, and `strides` to the top, from the bottom of the pyramid to its top;
        `num_maps` is d.
        """
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(width, num_maps) for width in channels)
        self.downsample = nn.ModuleList(
            DOWNSAMPLINGS[downsampling](width, stride)
            for width, stride in zip(channels[:-1], strides[:-1], strict=True)
        )
        self.fuse = FUSIONS[fusion]
        self.norm = SCORE_NORMS[score_norm]
        self._initialise()

    def _initialise(self) -> None:
        """Start near uniform attention, at scores of 1: a product then passes each scale's
        gradient on unscaled, where scores near 0 would mute one another. (The paper is silent.)
        """
        for projection in self.projections:
            assert isinstance(projection, nn.Linear)
            nn.init.normal_(projection.weight, std=self.norm.initial_std)
            nn.init.ones_(projection.bias)

    def forward(
        self, pyramid: Sequence[Float[torch.Tensor, "frames _channels _height _width"]]
    ) -> Float[torch.Tensor, "frames scales maps positions"]:
        """Return y^j of each scale j (eq. 2), bottom to top, at the top map's positions.

        In float32 at least, under autocast too: a product over scales magnifies their errors.
        """
        *lower, top = pyramid
        size = top.shape[-2:]
        with torch.autocast(top.device.type, enabled=False):
            reduced = [
                downsample(maps, tuple(size))
                for downsample, maps in zip(self.downsample, lower, strict=True)
            ]
            levels = zip(self.projections, [*reduced, top], strict=True)
            return torch.stack([self._project(layer, maps) for layer, maps in levels], dim=1)

    def fused(
        self, scale_scores: Float[torch.Tensor, "frames scales maps positions"]
    ) -> Float[torch.Tensor, "frames maps positions"]:
        """Return z, the scores of all scales fused (eq. 3, inside the softmax)."""
        return reduce(self.fuse, scale_scores.unbind(dim=1))

    def _project(self, projection: nn.Module, maps: torch.Tensor) -> torch.Tensor:
        features = self.norm.normalise(at_least_float32(maps))
        return projection(features.flatten(2).mT).mT
