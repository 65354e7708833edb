"""Heads: from the feature pyramids of a clip's frames to class scores.

A head is a small class and an entry in `HEADS`. Most sum frames up in a state, a tuple of
tensors, that merges with those of other frames: one pass over a video's frames serves every K,
and a clip of any length is trained and judged in bounded memory.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from torch import nn

from stpa.models.aggregation import (
    AttentionState,
    LossState,
    at_least_float32,
    attend,
    attention_weights,
    exponentials,
    merge,
    merge_losses,
    sum_losses,
    unit_norm_maps,
    unit_sum_maps,
)
from stpa.models.attention import PyramidScores
from stpa.shapes import Bool, Float

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
    present: Bool[torch.Tensor, "clips time"] | None = None
    """Frames that are not present count as if they were not there; all are by default."""
    values: torch.Tensor | None = None
    """What gets aggregated: the pyramid's top map by default."""

    @property
    def aggregated(self) -> torch.Tensor:
        """Maps [frames, channels, height, width]."""
        return self.pyramid[-1] if self.values is None else self.values


class HeadOutput(NamedTuple):
    """What a head says of a batch of clips."""

    logits: Float[torch.Tensor, "clips classes"]
    attention: "Attention | None"
    """For the losses on attention; None in evaluation, and where the head has none."""


class Attention(NamedTuple):
    """The attention of a batch of clips, summed up over their positions."""

    state: AttentionState
    losses: LossState


@dataclass(frozen=True)
class HeadOptions:
    """What the heads are built from."""

    channels: tuple[int, ...]
    """Of the pyramid, bottom to top."""
    strides: tuple[int, ...]
    """Of the pyramid's levels to its top one, whose is 1."""
    map_size: tuple[int, int]
    """Height and width of the top map at the training size; d is their product."""
    num_features: int
    """Of the tail's output."""
    num_classes: int
    dropout: float
    fusion: str
    downsampling: str
    map_norm: str
    score_norm: str
    aggregate: str


class Head(nn.Module, ABC):
    """Pyramids to logits.

    A head looks at each frame alone first, and then at the frames that make a clip: so each
    frame of a video is looked at once, however many clips it belongs to.
    """

    attends: ClassVar[bool] = False
    """Whether it learns attention, which settings and losses of attention are for."""

    def __init__(self, options: HeadOptions) -> None:
        super().__init__()
        self.dropout = nn.Dropout(options.dropout)
        self.classifier = nn.Linear(options.num_features, options.num_classes)
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

    def frame_weights(self, pyramid: Pyramid) -> Float[torch.Tensor, " frames"]:
        """Return the share of each frame of one video in what is aggregated; the sum is 1.

        All frames count alike unless a head says otherwise.
        """
        num_frames = len(pyramid[-1])
        return pyramid[-1].new_full((num_frames,), 1 / num_frames)


class MergingHead(Head):
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


class TsnHead(MergingHead):
    """Average the frames' scores (temporal segment networks, Wang et al., ECCV 2016)."""

    def sum_up(self, frames: Frames, tail: Tail) -> State:
        features = self.dropout(tail(frames.aggregated))
        logits = at_least_float32(self.classifier(features)).unflatten(0, (frames.num_clips, -1))
        present = frames.present
        if present is None:
            present = logits.new_ones(logits.shape[:2], dtype=torch.bool)
        return (logits * present.unsqueeze(-1)).sum(dim=1), present.sum(dim=1)

    def merge(self, states: State) -> State:
        return tuple(part.sum(dim=1) for part in states)

    def read(self, state: State, tail: Tail) -> HeadOutput:
        logits, num_frames = state
        return HeadOutput(logits / num_frames.unsqueeze(-1), attention=None)


class StpaHead(MergingHead):
    """Attend over all positions of all frames, d times."""

    attends = True

    def __init__(self, options: HeadOptions) -> None:
        super().__init__(options)
        height, width = options.map_size
        self.map_size = options.map_size
        self.maps_of = MAP_NORMS[options.map_norm]
        self.aggregate = AGGREGATES[options.aggregate]
        self.scores = PyramidScores(
            options.channels,
            options.strides,
            height * width,
            fusion=options.fusion,
            downsampling=options.downsampling,
            score_norm=options.score_norm,
        )

    def sum_up(self, frames: Frames, tail: Tail) -> State:
        num_clips, present = frames.num_clips, frames.present
        scale_scores = self.scores(frames.pyramid)
        scores = _of_clips(self.scores.fused(scale_scores), num_clips)
        values = self.aggregate.values(frames.aggregated, tail)
        features = _of_clips(values.flatten(2), num_clips).mT
        if present is not None:
            present = present.repeat_interleave(features.shape[1] // present.shape[1], dim=1)
        attention = exponentials(scores, present)
        state = attend(attention, features)
        if not self.training:
            return tuple(state)
        each_scale = exponentials(
            _of_clips(scale_scores, num_clips), None if present is None else present.unsqueeze(-2)
        )
        return (*state, *sum_losses(attention, each_scale, features, present))

    def merge(self, states: State) -> State:
        attention, losses = _attention(states), _losses(states)
        merged = merge(attention, dim=1)
        if losses is None:
            return tuple(merged)
        return (*merged, *merge_losses(losses, attention.peak, dim=1))

    def read(self, state: State, tail: Tail) -> HeadOutput:
        attention, losses = _attention(state), _losses(state)
        maps = self.maps_of(attention).mT.unflatten(-1, self.map_size)
        logits = self.classifier(self.dropout(self.aggregate.features(maps, tail)))
        return HeadOutput(logits, None if losses is None else Attention(attention, losses))

    def frame_weights(self, pyramid: Pyramid) -> Float[torch.Tensor, " frames"]:
        """Return the attention that each frame of one video gets, as a mean over the maps."""
        scores = at_least_float32(self.scores.fused(self.scores(pyramid)))
        shares = _of_clips(scores, num_clips=1)[0].softmax(dim=-1)  # [maps, time * positions]
        return shares.unflatten(-1, (len(scores), -1)).sum(dim=-1).mean(dim=0)

    def attention_maps(
        self, pyramid: Pyramid, state: State
    ) -> Float[torch.Tensor, "frames maps height width"]:
        """Return the rows of A (eq. 3) over some frames of the one clip whose state this is."""
        scores = self.scores.fused(self.scores(pyramid))
        weights = attention_weights(scores, _attention(state))
        return weights.unflatten(-1, pyramid[-1].shape[-2:])


def stack_states(states: Sequence[State]) -> State:
    """Stack the states of disjoint sets of frames along a new second axis, for `merge`."""
    return tuple(torch.stack(parts, dim=1) for parts in zip(*states, strict=True))


def _attention(state: State) -> AttentionState:
    return AttentionState(*state[: len(AttentionState._fields)])


def _losses(state: State) -> LossState | None:
    parts = state[len(AttentionState._fields) :]
    return LossState(*parts) if parts else None


def _of_clips(frames: torch.Tensor, num_clips: int) -> torch.Tensor:
    """[clips * time, *, positions] -> [clips, *, time * positions]."""
    return frames.unflatten(0, (num_clips, -1)).movedim(1, -2).flatten(-2)


MAP_NORMS: dict[str, Callable[[AttentionState], torch.Tensor]] = {
    "l2": unit_norm_maps,
    "l1": unit_sum_maps,
}
"""What an attention map's weights are normalised by: l2 is the paper's."""


class Aggregate(NamedTuple):
    """What attention sums over positions, and what the sums, laid out as a map, go through."""

    values: Callable[[torch.Tensor, Tail], torch.Tensor]
    """From top maps to maps of the same positions."""
    features: Callable[[torch.Tensor, Tail], torch.Tensor]
    """From a map of d sums to features."""


AGGREGATES = {
    # As printed: the layers behind the top map see the sums as if they were one frame.
    "maps": Aggregate(lambda maps, tail: maps, lambda sums, tail: tail(sums)),
    # In place of the CNN's pooling: the layers before it see what they were trained on.
    "features": Aggregate(lambda maps, tail: tail.embed(maps), lambda sums, tail: tail.pool(sums)),
}

HEADS: dict[str, type[Head]] = {"stpa": StpaHead, "tsn": TsnHead}
