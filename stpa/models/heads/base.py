"""What every head is: from the feature pyramids of a clip's frames to class scores.

Most heads sum frames up in a state, a tuple of tensors, that merges with those of other frames:
one pass over a video's frames serves every K, and a clip of any length is trained and judged in
bounded memory.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import nn

from stpa.models.heads.options import HeadOptions
from stpa.shapes import Float

Pyramid = Sequence[torch.Tensor]
"""Maps [frames, channels_j, height_j, width_j], bottom to top."""

CLASSIFIER_STD = 0.001

State = tuple[torch.Tensor, ...]
"""What a head keeps of a clip's frames; the first axis is the clip."""


@runtime_checkable
class Tail(Protocol):
    """The layers behind the pyramid (`stpa.models.tail.Tail`): `pool` of `embed`."""

    def __call__(self, maps: torch.Tensor, /) -> torch.Tensor:
        """Return features [frames, features] of maps [frames, channels, height, width]."""
        ...

    def embed(self, maps: torch.Tensor, /) -> torch.Tensor:
        """Return what the first layers make of each position alone: maps of the same size."""
        ...

    def pool(self, maps: torch.Tensor, /) -> torch.Tensor:
        """Return the features of what `embed` made of maps."""
        ...


class Frames(NamedTuple):
    """The frames of clips of equal length: those of clip 0, then clip 1, and so on."""

    pyramid: Pyramid
    num_clips: int
    values: torch.Tensor | None = None
    """What gets aggregated: the pyramid's top map by default."""

    @property
    def aggregated(self) -> torch.Tensor:
        """Maps [frames, channels, height, width]."""
        return self.pyramid[-1] if self.values is None else self.values


class HeadOutput(NamedTuple):
    """What a head returns for a batch of clips."""

    logits: Float[torch.Tensor, "clips classes"]
    terms: Mapping[str, Float[torch.Tensor, ""]] = {}
    """The head's own losses by name, unweighted, as means over clips. Empty in evaluation."""
    metrics: Mapping[str, Float[torch.Tensor, ""]] = {}
    """Further metrics of training by name, without gradients. Empty in evaluation."""


@dataclass(frozen=True)
class HeadInputs:
    """What a network gives its head, and what it expects of it."""

    channels: tuple[int, ...]
    """Channel counts of the pyramid's levels, bottom to top."""
    strides: tuple[int, ...]
    """Strides from each level to the top one, whose own is 1."""
    downsampling: str
    """How a level comes to the top one's size: a name in `stpa.models.attention.DOWNSAMPLINGS`."""
    map_size: tuple[int, int]
    """Height and width of the top map at the training size."""
    num_features: int
    """Size of the tail's output."""
    num_classes: int
    dropout: float


OptionsT = TypeVar("OptionsT", bound=HeadOptions)


class Head(nn.Module, ABC, Generic[OptionsT]):
    """Pyramids to logits.

    A head looks at each frame alone first, and then at the frames that make a clip: so each
    frame of a video is looked at once, however many clips it belongs to.
    """

    Options: ClassVar[type[HeadOptions]] = HeadOptions
    """Its section in params.yaml."""
    uses_pyramid: ClassVar[bool] = True
    """False: where the network is cut into levels changes no result of this head."""
    attends: ClassVar[bool] = False
    """Whether it has attention maps (`attention_maps`)."""

    def __init__(self, options: OptionsT, inputs: HeadInputs) -> None:
        super().__init__()
        self.options = options
        self.dropout = nn.Dropout(inputs.dropout)
        self.classifier = nn.Linear(inputs.num_features, inputs.num_classes)
        # TSN's start (tsn-pytorch, models.py): all classes alike, so that the first steps go to
        # the classifier rather than to features that a random one would ask for.
        nn.init.normal_(self.classifier.weight, std=CLASSIFIER_STD)
        nn.init.zeros_(self.classifier.bias)

    @abstractmethod
    def forward(self, frames: Frames, tail: Tail) -> HeadOutput:
        """Classify clips."""

    @abstractmethod
    def frame_states(self, pyramid: Pyramid, tail: Tail) -> State:
        """Return what is kept of each frame: tensors whose first axis is the frame."""

    @abstractmethod
    def classify(self, states: State, tail: Tail) -> Float[torch.Tensor, "clips classes"]:
        """Classify clips by their frames' states, whose first axes are the clip and the frame, in
        order of time; returns logits."""

    def evidence(
        self, pyramid: Pyramid, tail: Tail, weights: Float[torch.Tensor, " classes"]
    ) -> Float[torch.Tensor, "frames height width"]:
        """Divide a weighted sum of one video's logits among the positions of its frames.

        The part of a position is its features times the gradient of the sum with respect to them.
        The attention is held fixed. Where the tail is linear, the parts add up to the weighted sum
        without the classifier's bias.
        """
        with torch.inference_mode(mode=False), torch.enable_grad():
            maps = [level.detach().clone() for level in pyramid]
            values = maps[-1].clone().requires_grad_()
            logits = self(Frames(maps, num_clips=1, values=values), tail).logits[0]
            # Clones: autograd takes no tensors that were made in inference mode.
            (gradient,) = torch.autograd.grad(logits @ weights.clone().to(logits), values)
        return (gradient * values.detach()).sum(dim=1)

    def attention_maps(
        self, pyramid: Pyramid, state: State
    ) -> Float[torch.Tensor, "frames maps height width"]:
        """Return the attention over some frames of the one clip whose state this is.

        Raises NotImplementedError where the head does not attend.
        """
        raise NotImplementedError(f"{type(self).__name__} attends to nothing")

    def frame_weights(self, pyramid: Pyramid) -> Float[torch.Tensor, " frames"]:
        """Return the share of each frame of one video in what is aggregated; the sum is 1.

        All frames count alike unless a head says otherwise.
        """
        num_frames = len(pyramid[-1])
        return pyramid[-1].new_full((num_frames,), 1 / num_frames)


class MergingHead(Head[OptionsT]):
    """A head whose states of disjoint sets of frames merge, in any order: it sums frames up."""

    @abstractmethod
    def sum_up(self, frames: Frames, tail: Tail) -> State:
        """Sum up the frames of each clip."""

    @abstractmethod
    def merge(self, states: State) -> State:
        """Combine the states of disjoint sets of frames, which are the second axis."""

    @abstractmethod
    def read(self, state: State, tail: Tail) -> HeadOutput:
        """Classify clips by their states."""

    def forward(self, frames: Frames, tail: Tail) -> HeadOutput:
        return self.read(self.sum_up(frames, tail), tail)

    def frame_states(self, pyramid: Pyramid, tail: Tail) -> State:
        return self.sum_up(Frames(pyramid, num_clips=len(pyramid[-1])), tail)

    def classify(self, states: State, tail: Tail) -> Float[torch.Tensor, "clips classes"]:
        return self.read(self.merge(states), tail).logits


def stack_states(states: Sequence[State]) -> State:
    """Stack the states of disjoint sets of frames along a new second axis, for `merge`."""
    return tuple(torch.stack(parts, dim=1) for parts in zip(*states, strict=True))
