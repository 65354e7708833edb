"""Temporal segment networks (Wang et al., ECCV 2016): the mean of the frames' scores."""

from typing import ClassVar

from stpa.models.aggregation import at_least_float32
from stpa.models.heads.base import Frames, HeadOutput, MergingHead, State, Tail
from stpa.models.heads.options import HeadOptions


class TsnHead(MergingHead[HeadOptions]):
    """Average the frames' scores."""

    uses_pyramid: ClassVar[bool] = False

    def sum_up(self, frames: Frames, tail: Tail) -> State:
        features = self.dropout(tail(frames.aggregated))
        logits = at_least_float32(self.classifier(features)).unflatten(0, (frames.num_clips, -1))
        num_frames = logits.new_full(logits.shape[:1], logits.shape[1])
        return logits.sum(dim=1), num_frames

    def merge(self, states: State) -> State:
        return tuple(part.sum(dim=1) for part in states)

    def read(self, state: State, tail: Tail) -> HeadOutput:
        logits, num_frames = state
        return HeadOutput(logits / num_frames.unsqueeze(-1))
