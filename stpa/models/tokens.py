"""Vision transformers as backbones: the tokens of an image's patches are the positions of a map.

Class and register tokens are left out: they stand for no position. So the features are the mean of
the patches' tokens, also where a model was published with the class token for its features.
"""

from typing import Any

import torch
from torch import nn

from stpa.errors import ModelError
from stpa.models.tail import Tail

MODULES = {"vision_transformer", "deit", "eva"}
"""Of timm, whose models are transformers that give their blocks' tokens as maps."""

Transformer = Any
"""A model of `MODULES`, whose methods no class of timm's declares."""


class TokenMaps(nn.Module):
    """The tokens of the last blocks as a pyramid, whose levels all have one size."""

    def __init__(self, transformer: Transformer, num_scales: int) -> None:
        super().__init__()
        num_blocks = len(transformer.blocks)
        if num_scales > num_blocks:
            raise ModelError(f"{num_blocks} blocks make no pyramid of {num_scales} scales")
        self.transformer, self._num_scales = transformer, num_scales

    def forward(self, frames: torch.Tensor) -> list[torch.Tensor]:
        return self.transformer.forward_intermediates(
            frames, indices=self._num_scales, output_fmt="NCHW", intermediates_only=True
        )


def take_tail(transformer: Transformer) -> Tail:
    """Take what is behind the last block out of a transformer, and average over positions in it."""
    norm, norm_of_mean = transformer.norm, transformer.fc_norm
    transformer.prune_intermediate_layers(len(transformer.blocks), prune_norm=True, prune_head=True)
    return Tail(
        _OfPositions(norm),
        _Average(norm_of_mean),
        [("norm", norm), ("fc_norm", norm_of_mean)],
    )


class _OfPositions(nn.Module):
    """A layer over the channels of each position."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.layer(maps.movedim(1, -1)).movedim(-1, 1)


class _Average(nn.Module):
    """The mean over positions, and a layer over its channels."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.layer(maps.mean(dim=(2, 3)))
