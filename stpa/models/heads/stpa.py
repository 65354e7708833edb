"""The head of interaction-aware spatio-temporal pyramid attention (Du et al., ECCV 2018).

It attends over all positions of all frames, d times (eq. 1-5), and adds two losses (eq. 6-8).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import torch

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
from stpa.models.attention import FUSIONS, SCORE_NORMS, PyramidScores
from stpa.models.attention_losses import ATTENTION_LOSSES, INTERACTIVE_LOSSES, Attention
from stpa.models.attention_metrics import attention_metrics
from stpa.models.heads.base import (
    Frames,
    HeadInputs,
    HeadOutput,
    MergingHead,
    Pyramid,
    State,
    Tail,
)
from stpa.models.heads.options import HeadOptions
from stpa.options import AtLeast, OneOf
from stpa.shapes import Float

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


@dataclass(frozen=True)
class StpaOptions(HeadOptions):
    """`model.heads.stpa`: the printed form and the forms that train better beside it."""

    scale_fusion: Annotated[str, OneOf(FUSIONS)]
    """F of eq. 3, over the scales' scores: a name in `stpa.models.attention.FUSIONS`."""
    map_norm: Annotated[str, OneOf(MAP_NORMS)]
    """What an attention map's weights are normalised by. l2 (paper): even attention multiplies the
    features by the root of the number of positions, so K of test should be near K of training.
    l1: a plain weighted mean, whatever K."""
    score_norm: Annotated[str, OneOf(SCORE_NORMS)]
    """What is done to the features before they are scored (eq. 2). none (paper): nothing; scores
    grow with the features, and on pretrained networks run away. rms: each frame's are divided by
    their root mean square norm. layer: each position's have a mean of 0 and a norm of 1 over the
    channels."""
    aggregate: Annotated[str, OneOf(AGGREGATES)]
    """What attention sums over positions and frames. maps (paper): the top layer's maps; the sums
    go through the layers behind it as one frame. features: what these layers make of each position,
    as far as they look at each alone, which at C is up to the CNN's pooling: attention takes its
    place."""
    interactive_loss: Annotated[str, OneOf(INTERACTIVE_LOSSES)]
    """paper: l_interactive (eq. 6), which has no lower bound; bounded: of shares, in [-d, 1]."""
    interactive_weight: Annotated[float, AtLeast(0.0)]
    """beta of eq. 9; 0 turns l_interactive off."""
    attention_loss: Annotated[str, OneOf(ATTENTION_LOSSES)]
    """paper: l_attn as in eq. 8, whose gradient is tiny; cosine: the mean cosine of the maps, in
    [0, 1]."""
    attention_weight: Annotated[float, AtLeast(0.0)]
    """gamma of eq. 9; 0 turns l_attn off."""

    @property
    def loss_weights(self) -> Mapping[str, float]:
        """beta and gamma of eq. 9."""
        return {"interactive": self.interactive_weight, "attention": self.attention_weight}

    @property
    def warnings(self) -> Mapping[str, str]:
        """Warn of the printed loss."""
        if self.interactive_loss != "paper" or not self.interactive_weight:
            return {}
        return {
            "printed_loss": "interactive_loss paper has no lower bound "
            "(docs/paper-to-code.md): on pretrained features it outgrows the classification by "
            "hundreds of times; bounded is the form that trains"
        }


class StpaHead(MergingHead[StpaOptions]):
    """Attend over all positions of all frames, d times."""

    Options: ClassVar[type[HeadOptions]] = StpaOptions
    attends: ClassVar[bool] = True

    def __init__(self, options: StpaOptions, inputs: HeadInputs) -> None:
        super().__init__(options, inputs)
        height, width = self.map_size = inputs.map_size
        self.maps_of = MAP_NORMS[options.map_norm]
        self.aggregate = AGGREGATES[options.aggregate]
        self.scores = PyramidScores(
            inputs.channels,
            inputs.strides,
            height * width,  # d: the sums of d maps are laid out as one map of the top layer's size
            fusion=options.scale_fusion,
            downsampling=inputs.downsampling,
            score_norm=options.score_norm,
        )

    def sum_up(self, frames: Frames, tail: Tail) -> State:
        scale_scores = self.scores(frames.pyramid)  # y^j: [frames, scales, maps, positions]
        scores = _of_clips(self.scores.fused(scale_scores), frames.num_clips)
        values = self.aggregate.values(frames.aggregated, tail)
        features = _of_clips(values.flatten(2), frames.num_clips).mT  # X: [clips, positions, C]
        attention = exponentials(scores)
        state = attend(attention, features)
        if not self.training:
            return tuple(state)
        each_scale = exponentials(_of_clips(scale_scores, frames.num_clips))
        return (*state, *sum_losses(attention, each_scale, features))

    def merge(self, states: State) -> State:
        attention, losses = split_state(states)
        merged = merge(attention, dim=1)
        if losses is None:
            return tuple(merged)
        return (*merged, *merge_losses(losses, attention.peak, dim=1))

    def read(self, state: State, tail: Tail) -> HeadOutput:
        attention, losses = split_state(state)
        maps = self.maps_of(attention).mT.unflatten(-1, self.map_size)  # M: [clips, C, h, w]
        logits = self.classifier(self.dropout(self.aggregate.features(maps, tail)))
        if losses is None:
            return HeadOutput(logits)
        seen = Attention(attention, losses)
        return HeadOutput(logits, self._losses_of(seen), attention_metrics(seen))

    def _losses_of(self, attention: Attention) -> Mapping[str, torch.Tensor]:
        return {
            "interactive": INTERACTIVE_LOSSES[self.options.interactive_loss](attention),
            "attention": ATTENTION_LOSSES[self.options.attention_loss](attention),
        }

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
        weights = attention_weights(scores, split_state(state)[0])
        return weights.unflatten(-1, pyramid[-1].shape[-2:])


def split_state(state: State) -> tuple[AttentionState, LossState | None]:
    """Return what the maps and what the losses are read from; the latter is kept in training."""
    num_parts = len(AttentionState._fields)
    losses = state[num_parts:]
    return AttentionState(*state[:num_parts]), LossState(*losses) if losses else None


def _of_clips(frames: torch.Tensor, num_clips: int) -> torch.Tensor:
    """[clips * time, *, positions] -> [clips, *, time * positions]."""
    return frames.unflatten(0, (num_clips, -1)).movedim(1, -2).flatten(-2)
