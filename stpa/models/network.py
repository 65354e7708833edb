"""An action network: one stream's clips in, class scores out."""

import math
from dataclasses import asdict, dataclass

import torch
from torch import nn
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.utils.checkpoint import checkpoint

from stpa.errors import ModelError
from stpa.models.aggregation import at_least_float32
from stpa.models.attention import POOLINGS
from stpa.models.backbones import Backbone
from stpa.models.heads import (
    HEADS,
    Frames,
    HeadInputs,
    HeadOutput,
    MergingHead,
    Pyramid,
    State,
    head_options,
    stack_states,
)
from stpa.models.legacy import current_spec
from stpa.shapes import Float, UInt8
from stpa.streams import STREAMS, Stream


@dataclass(frozen=True)
class NetworkSpec:
    """Everything but the weights: enough to rebuild a network and to feed it."""

    stream: Stream
    head: str
    """A name in `HEADS`."""
    head_options: dict[str, str | int | float | bool]
    """The values of the head's `Options`."""
    backbone: str
    backbone_options: dict[str, str | int | float | bool]
    top_layer: str
    num_scales: int
    downsampling: str
    flow_stem: str
    """What the first convolution made of flow before it was trained (`FLOW_STEMS`)."""
    dropout: float
    class_names: tuple[str, ...]
    """By the place of their logits."""
    multi_label: bool
    """Whether probabilities are each logit's sigmoid; else all logits' softmax."""
    input_size: int
    """Side of the square crop, px."""
    short_side: int
    """Frames are resized to this short side before the crop, px."""
    input_mean: tuple[float, ...]
    """Per RGB channel, in 0-255; motion has a mean of its own, no motion."""
    input_std: tuple[float, ...]
    """Per RGB channel, in 0-255; motion is divided by their mean."""

    def to_dict(self) -> dict:
        """Return plain values for JSON."""
        return asdict(self) | {"stream": self.stream.name}

    @classmethod
    def from_dict(cls, values: dict) -> "NetworkSpec":
        """Rebuild from `to_dict`'s values, as JSON returns them."""
        tuples = {key: tuple(values[key]) for key in ("class_names", "input_mean", "input_std")}
        stream = STREAMS[values["stream"]]
        return cls(**{**current_spec(values), **tuples, "stream": stream})


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
            stream=spec.stream,
            input_size=spec.input_size,
            num_scales=spec.num_scales,
            top_layer=spec.top_layer,
            pretrained=pretrained,
            options=spec.backbone_options,
            flow_stem=spec.flow_stem,
        )
        inputs = HeadInputs(
            channels=self.backbone.channels,
            strides=self.backbone.strides,
            downsampling=spec.downsampling,
            map_size=self.backbone.top_size,
            num_features=self.backbone.num_features,
            num_classes=len(spec.class_names),
            dropout=spec.dropout,
        )
        self.head = HEADS[spec.head](head_options(spec.head, spec.head_options), inputs)
        mean, std = _normalisation(spec)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        # What convolutions are written for: a step is 1.4 times as fast with MobileNetV2 on CPUs.
        convert_conv2d_weight_memory_format(self, torch.channels_last)

    def forward(
        self,
        clips: UInt8[torch.Tensor, "clips time channels height width"]
        | Float[torch.Tensor, "clips time channels height width"]
        | Float[torch.Tensor, "clips time values"],
        frames_at_once: int | None = None,
    ) -> HeadOutput:
        """Classify clips of equal length: levels in 0-255, or flat features as in `pyramid`.

        With `frames_at_once`, each clip goes through the backbone in chunks of so many frames
        that are computed once more in the backward pass: memory does not grow with the clips'
        length. Outputs and gradients stay the same where no batch norm takes statistics.
        """
        time = clips.shape[1]
        chunks = range(0, time, frames_at_once or time)
        if len(chunks) == 1:
            return self.head(self._frames(clips), self.backbone.tail)
        states = [
            checkpoint(self._sum_up, clips[:, start : start + chunks.step], use_reentrant=False)
            for start in chunks
        ]
        return self.merging_head.read(self.merge(stack_states(states)), self.backbone.tail)

    def pyramid(
        self,
        frames: UInt8[torch.Tensor, "frames channels height width"]
        | Float[torch.Tensor, "frames channels height width"]
        | Float[torch.Tensor, "frames values"],
    ) -> Pyramid:
        """Return each frame's feature maps, bottom to top.

        Frames can also be given as what `flat_pyramid` returned for them, in any floating-point
        type.
        """
        if frames.ndim == 2:
            levels = frames.to(self.mean.dtype).split(self._level_values, dim=1)
            shapes = self._stored_shapes
            return [level.unflatten(1, shape) for level, shape in zip(levels, shapes, strict=True)]
        return self.backbone((frames - self.mean) / self.std)

    def flat_pyramid(
        self, frames: UInt8[torch.Tensor, "frames channels height width"]
    ) -> Float[torch.Tensor, "frames values"]:
        """Return each frame's feature maps, laid out one after another, bottom to top.

        Where R of eq. 1 learns nothing, they are as large as the top one, as R makes them.
        """
        levels = self.pyramid(frames)
        if pool := POOLINGS.get(self.spec.downsampling):
            levels = [pool(level, self.backbone.top_size) for level in levels]
        return torch.cat([level.flatten(1) for level in levels], dim=1)

    @property
    def num_values(self) -> int:
        """Number of values that `flat_pyramid` gives per frame."""
        return sum(self._level_values)

    def frame_states(self, pyramid: Pyramid, num_clips: int = 1) -> State:
        """Return what the head keeps of each frame of clips of equal length, one after another:
        tensors whose first axes are the clip and the frame."""
        states = self.head.frame_states(pyramid, self.backbone.tail)
        return tuple(part.unflatten(0, (num_clips, -1)) for part in states)

    def merge(self, states: State) -> State:
        """Combine states of disjoint sets of frames, which are the second axis."""
        return self.merging_head.merge(states)

    def classify(self, states: State) -> Float[torch.Tensor, "clips classes"]:
        """Classify clips by the states of their frames, or of sets of them; returns logits."""
        return at_least_float32(self.head.classify(states, self.backbone.tail))

    @property
    def merging_head(self) -> MergingHead:
        """The head, where its states merge; raises ModelError elsewhere."""
        if not isinstance(self.head, MergingHead):
            raise ModelError(
                f"head {self.spec.head} needs all frames of a clip at once: "
                "set train.frames_at_once to null"
            )
        return self.head

    @property
    def attends(self) -> bool:
        """Whether the head has attention maps."""
        return self.head.attends

    def attention_maps(
        self, pyramid: Pyramid, states: State
    ) -> Float[torch.Tensor, "frames maps height width"]:
        """Return the attention over some frames of a clip: a second pass over these alone.

        `states` are those of all the clip's frames, from the first pass.
        """
        return self.head.attention_maps(pyramid, self.merge(states))

    def evidence(
        self, pyramid: Pyramid, weights: Float[torch.Tensor, " classes"]
    ) -> Float[torch.Tensor, "frames height width"]:
        """Return `Head.evidence` of one video."""
        return self.head.evidence(pyramid, self.backbone.tail, weights)

    def frame_weights(self, pyramid: Pyramid) -> Float[torch.Tensor, " frames"]:
        """Return `Head.frame_weights` of one video."""
        return self.head.frame_weights(pyramid)

    @property
    def _stored_shapes(self) -> list[tuple[int, int, int]]:
        backbone = self.backbone
        pools = self.spec.downsampling in POOLINGS
        sizes = [backbone.top_size] * len(backbone.sizes) if pools else backbone.sizes
        return [(width, *size) for width, size in zip(backbone.channels, sizes, strict=True)]

    @property
    def _level_values(self) -> list[int]:
        return [math.prod(shape) for shape in self._stored_shapes]

    def _sum_up(self, clips: torch.Tensor) -> State:
        return self.merging_head.sum_up(self._frames(clips), self.backbone.tail)

    def _frames(self, clips: torch.Tensor) -> Frames:
        return Frames(self.pyramid(clips.flatten(0, 1)), len(clips))


def _normalisation(spec: NetworkSpec) -> tuple[torch.Tensor, torch.Tensor]:
    rest_level = spec.stream.rest_level
    if rest_level is None:
        mean, std = torch.tensor(spec.input_mean), torch.tensor(spec.input_std)
    else:
        mean = torch.full((spec.stream.channels,), rest_level)
        std = torch.full_like(mean, sum(spec.input_std) / len(spec.input_std))
    return mean.view(-1, 1, 1), std.view(-1, 1, 1)
