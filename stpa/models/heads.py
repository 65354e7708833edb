"""Heads: from the feature pyramids of a clip's frames to class scores.

A head is a small class and an entry in `HEADS`. Each sums up frames in a state that merges,
so that one pass over a video's frames serves every K.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from stpa.models.aggregation import (
    AttentionState,
    at_least_float32,
    attend,
    attention_weights,
    finalise,
    merge,
)
from stpa.models.attention import PyramidScores
from stpa.shapes import Float

Pyramid = Sequence[torch.Tensor]
"""Maps [frames, channels_j, height_j, width_j], bottom to top."""


class HeadOutput(NamedTuple):
    """What a head says of a batch of clips."""

    logits: Float[torch.Tensor, "clips classes"]
    attention: "Attention | None"
    """For the losses on attention; None where the head has none."""


class Attention(NamedTuple):
    """The attention of a batch of clips over all their frames' positions."""

    maps: Float[torch.Tensor, "clips maps channels"]
    """M of eq. 4."""
    weights: Float[torch.Tensor, "clips maps positions"]
    """A of eq. 3: rows of unit L2 norm."""
    scale_weights: Float[torch.Tensor, "scales clips maps positions"]
    """softmax(y^j) of each scale alone, as in eq. 7."""


@dataclass(frozen=True)
class HeadOptions:
    """What the heads are built from."""

    channels: tuple[int, ...]
    """Of the pyramid, bottom to top."""
    num_maps: int
    """d, the positions of the top map at the training size."""
    num_classes: int
    dropout: float
    fusion: str
    downsampling: str


class Head(nn.Module, ABC):
    """Clips to logits, whole or by way of states that merge."""

    classifier: nn.Linear

    @abstractmethod
    def forward(self, pyramid: Pyramid, num_clips: int) -> HeadOutput:
        """Classify clips; the pyramid's frames are those of clip 0, then clip 1, and so on."""

    @abstractmethod
    def frame_states(self, pyramid: Pyramid) -> tuple[torch.Tensor, ...]:
        """Sum up each frame alone: tensors whose first axis is the frame."""

    @abstractmethod
    def classify(self, states: tuple[torch.Tensor, ...]) -> Float[torch.Tensor, " classes"]:
        """Merge the states of one video's frames and classify it."""

    @abstractmethod
    def evidence(
        self, pyramid: Pyramid, class_index: int
    ) -> Float[torch.Tensor, "frames height width"]:
        """Share the lead of one video's logit over the mean logit out over positions.

        The lead is what softmax sees, and the shares sum to it but for the classifier's bias.
        """

    def _lead(self, class_index: int) -> Float[torch.Tensor, " channels"]:
        """Return the weights that a class's logit has beyond the mean logit."""
        weight = self.classifier.weight
        return weight[class_index] - weight.mean(dim=0)


class TsnHead(Head):
    """Average the frames' scores (temporal segment networks, Wang et al., ECCV 2016)."""

    def __init__(self, options: HeadOptions) -> None:
        super().__init__()
        self.dropout = nn.Dropout(options.dropout)
        self.classifier = nn.Linear(options.channels[-1], options.num_classes)

    def forward(self, pyramid: Pyramid, num_clips: int) -> HeadOutput:
        frame_features = pyramid[-1].mean(dim=(2, 3)).unflatten(0, (num_clips, -1))
        logits = self.classifier(self.dropout(frame_features)).mean(dim=1)
        return HeadOutput(logits, attention=None)

    def frame_states(self, pyramid: Pyramid) -> tuple[torch.Tensor, ...]:
        return (self.classifier(pyramid[-1].mean(dim=(2, 3))),)

    def classify(self, states: tuple[torch.Tensor, ...]) -> Float[torch.Tensor, " classes"]:
        return states[0].mean(dim=0)

    def evidence(
        self, pyramid: Pyramid, class_index: int
    ) -> Float[torch.Tensor, "frames height width"]:
        top = pyramid[-1]
        scores = torch.einsum("tchw,c->thw", top, self._lead(class_index))
        return scores / scores.numel()


class StpaHead(Head):
    """Attend over all positions of all frames, then pool the d maps and classify."""

    def __init__(self, options: HeadOptions) -> None:
        super().__init__()
        self.scores = PyramidScores(
            options.channels,
            options.num_maps,
            fusion=options.fusion,
            downsampling=options.downsampling,
        )
        self.dropout = nn.Dropout(options.dropout)
        self.classifier = nn.Linear(options.channels[-1], options.num_classes)

    def forward(self, pyramid: Pyramid, num_clips: int) -> HeadOutput:
        scale_scores = torch.stack([_clips(scores, num_clips) for scores in self.scores(pyramid)])
        scores = self.scores.fused(scale_scores.unbind())
        state = attend(scores, _clips(pyramid[-1].flatten(2), num_clips).transpose(1, 2))
        maps = finalise(state)
        attention = Attention(
            maps, attention_weights(scores, state), at_least_float32(scale_scores).softmax(dim=-1)
        )
        return HeadOutput(self._classify_maps(maps), attention)

    def frame_states(self, pyramid: Pyramid) -> tuple[torch.Tensor, ...]:
        scores = self.scores.fused(self.scores(pyramid))
        return attend(scores, pyramid[-1].flatten(2).transpose(1, 2))

    def classify(self, states: tuple[torch.Tensor, ...]) -> Float[torch.Tensor, " classes"]:
        return self._classify_maps(finalise(merge(AttentionState(*states), dim=0)))

    def evidence(
        self, pyramid: Pyramid, class_index: int
    ) -> Float[torch.Tensor, "frames height width"]:
        scores = self.scores.fused(self.scores(pyramid))
        clip = merge(AttentionState(*self.frame_states(pyramid)), dim=0)
        weights = attention_weights(scores, AttentionState(*(part[None] for part in clip)))
        top = pyramid[-1]
        mean_weight = weights.mean(dim=1).unflatten(1, top.shape[-2:])
        class_scores = torch.einsum("tchw,c->thw", top, self._lead(class_index))
        return mean_weight * class_scores

    def _classify_maps(self, maps: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.dropout(maps.mean(dim=-2)))


def _clips(frames: torch.Tensor, num_clips: int) -> torch.Tensor:
    """[clips * time, maps, positions] -> [clips, maps, time * positions]."""
    return frames.unflatten(0, (num_clips, -1)).transpose(1, 2).flatten(2)


HEADS: dict[str, Callable[[HeadOptions], Head]] = {"stpa": StpaHead, "tsn": TsnHead}
