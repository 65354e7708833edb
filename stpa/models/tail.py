"""The layers behind the top map of a pyramid, in the two parts that attention comes between."""

from collections.abc import Callable, Iterable

import torch
from torch import fx, nn

from stpa.models.cut import split
from stpa.shapes import Float


class Tail(nn.Module):
    """From top maps to features [frames, num_features]: `pool` of `embed`.

    `embed` are the first layers, as far as they look at each position alone, and `pool` the others:
    the pooling at the latest. It keeps the maps' size, and may be none.
    """

    def __init__(
        self, embed: nn.Module, pool: nn.Module, layers: Iterable[tuple[str, nn.Module]] = ()
    ) -> None:
        """Take the two parts, and the layers of both by the names that weights files have."""
        super().__init__()
        self._parts = (embed, pool)  # a tuple: a part is no second place of the same weights
        for name, layer in layers:
            self.add_module(name, layer)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> "Tail":
        """Convert or move all weights, and the constants of the parts, which no layer has."""
        super()._apply(fn, recurse)
        graphs = [module for part in self._parts for module in part.modules()]
        for graph in graphs:
            if isinstance(graph, fx.GraphModule):
                for name, constant in list(graph.named_buffers(recurse=False)):
                    graph.register_buffer(name, fn(constant), persistent=False)
        return self

    def embed(
        self, maps: Float[torch.Tensor, "frames channels height width"]
    ) -> Float[torch.Tensor, "frames _channels height width"]:
        """Return what the first layers make of each position."""
        return self._parts[0](maps)

    def pool(
        self, maps: Float[torch.Tensor, "frames channels _height _width"]
    ) -> Float[torch.Tensor, "frames features"]:
        """Go on from what `embed` returned, or from maps of sums of it."""
        return self._parts[1](maps)

    def forward(
        self, maps: Float[torch.Tensor, "frames channels _height _width"]
    ) -> Float[torch.Tensor, "frames features"]:
        return self.pool(self.embed(maps))


def tail_of_cnn(
    layers: fx.GraphModule, num_channels: int, size: tuple[int, int], *, channels_last: bool
) -> Tail:
    """Part a CNN's layers behind maps of a size where they begin to mix positions."""
    embed, pool = split(layers, num_channels, size, channels_last=channels_last)
    if not channels_last:
        return Tail(embed, pool, layers.named_children())
    embed = nn.Sequential(ChannelsLast(), embed, ChannelsFirst())
    return Tail(embed, nn.Sequential(ChannelsLast(), pool), [("1", layers)])


class ChannelsFirst(nn.Module):
    """Maps [frames, height, width, channels] to [frames, channels, height, width]."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.permute(0, 3, 1, 2)  # to: frames channels h w


class ChannelsLast(nn.Module):
    """The way back."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.permute(0, 2, 3, 1)  # to: frames h w channels
