"""An action network: one stream's clips in, class scores out."""

from dataclasses import asdict, dataclass

import torch
from torch import nn

from stpa.data.sampling import STACK_LENGTH
from stpa.models.backbones import Backbone
from stpa.models.heads import HEADS, HeadOptions, HeadOutput, Pyramid
from stpa.shapes import UInt8

FLOW_ZERO = 128.0
"""The stored level of no motion: round(255 / 2) (TSN)."""


@dataclass(frozen=True)
class NetworkSpec:
    """Everything but the weights: enough to rebuild a network and to feed it."""

    stream: str
    """"rgb" or "flow"."""
    head: str
    """A name in `HEADS`."""
    backbone: str
    backbone_options: dict[str, str | int | float | bool]
    num_scales: int
    fusion: str
    downsampling: str
    dropout: float
    class_names: tuple[str, ...]
    """By label index."""
    input_size: int
    """Side of the square crop, px."""
    short_side: int
    """Frames are resized to this short side before the crop, px."""
    input_mean: tuple[float, ...]
    """Per RGB channel, in 0-255."""
    input_std: tuple[float, ...]

    @property
    def span(self) -> int:
        """Stored frames that one position reads."""
        return 1 if self.stream == "rgb" else STACK_LENGTH

    @property
    def in_channels(self) -> int:
        """Channels of one position."""
        return 3 if self.stream == "rgb" else 2 * STACK_LENGTH

    def to_dict(self) -> dict:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "NetworkSpec":
        """Rebuild from `to_dict`'s values, as JSON returns them."""
        tuples = {key: tuple(values[key]) for key in ("class_names", "input_mean", "input_std")}
        return cls(**{**values, **tuples})


class ActionNetwork(nn.Module):
    """Normalise, extract each frame's pyramid, aggregate over frames, classify."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, spec: NetworkSpec, pretrained: bool | str = False) -> None:
        """Build from `spec`; the backbone starts from `pretrained` (`ModelConfig.pretrained`)."""
        super().__init__()
        self.spec = spec
        self.backbone = Backbone(
            spec.backbone,
            in_channels=spec.in_channels,
            num_scales=spec.num_scales,
            pretrained=pretrained,
            options=spec.backbone_options,
        )
        height, width = self.backbone.top_size(spec.input_size)
        options = HeadOptions(
            channels=tuple(self.backbone.channels),
            num_maps=height * width,
            num_classes=len(spec.class_names),
            dropout=spec.dropout,
            fusion=spec.fusion,
            downsampling=spec.downsampling,
        )
        self.head = HEADS[spec.head](options)
        mean, std = _normalisation(spec)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, clips: UInt8[torch.Tensor, "clips time channels height width"]) -> HeadOutput:
        """Classify clips of equal length."""
        pyramid = self.pyramid(clips.flatten(0, 1))
        return self.head(pyramid, num_clips=len(clips))

    def pyramid(self, frames: UInt8[torch.Tensor, "frames channels height width"]) -> Pyramid:
        """Return each frame's feature maps, bottom to top."""
        return self.backbone((frames - self.mean) / self.std)


def _normalisation(spec: NetworkSpec) -> tuple[torch.Tensor, torch.Tensor]:
    if spec.stream == "rgb":
        mean, std = torch.tensor(spec.input_mean), torch.tensor(spec.input_std)
    else:
        mean = torch.full((spec.in_channels,), FLOW_ZERO)
        std = torch.full_like(mean, sum(spec.input_std) / len(spec.input_std))
    return mean.view(-1, 1, 1), std.view(-1, 1, 1)
