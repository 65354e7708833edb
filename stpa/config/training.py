"""The networks, and how they are trained."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from stpa.config.base import (
    CropShare,
    Info,
    NonNegativeFloat,
    OfChannels,
    OptionValue,
    PositiveFloat,
    PositiveInt,
    Section,
    Share,
    ShareBelowOne,
)
from stpa.streams import STREAMS, Stream


class ModelConfig(Section):
    backbone: str
    """A timm model name."""
    pretrained: bool | str
    """true: timm's published weights; false: random; else a weights file's path or URL."""
    backbone_options: dict[str, OptionValue]
    """Passed to `timm.create_model`, for weights that need them (padding, BN epsilon)."""
    input_mean: Annotated[list[float], OfChannels] | None
    """Per RGB channel, in 0-255, as the backbone's weights expect; null: as timm publishes it."""
    input_std: Annotated[list[PositiveFloat], OfChannels] | None
    flow_input: Literal["measured", "as_rgb"]
    """How motion (optical flow, RGB difference) is scaled for the network. measured: so that the
    training clips deviate as much as photographs do, which the weights were trained on: slow motion
    is faint otherwise. as_rgb: divided by the mean of `input_std`."""
    flow_stem: str
    """What the first convolution, which the weights have for RGB, makes of the flow's channels: a
    name in `stpa.models.stems.FLOW_STEMS`. components: x and y pass for two colours. mean
    (TSN): they are added up, and training has to tell them apart."""
    freeze: Literal["none", "backbone"]
    """Which part keeps its pretrained weights. none: no part, the whole network is trained.
    backbone: all but the head; the features of each video are computed once and stored
    (`stpa features`), and every head trains on them in seconds."""
    top_layer: str
    """A name in `stpa.models.backbones.TOP_LAYERS`, where the frames are aggregated: C, the CNN's
    last feature map (paper); B and A, the next finer ones below it; FC, the pooled features."""
    num_scales: Annotated[int, Field(ge=1, le=4)]
    """N, feature maps in the pyramid, from the top layer down."""
    downsampling: str
    """R of eq. 1, from each map to the size of the top one: a name in `DOWNSAMPLINGS` there."""
    heads: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    """The heads to train and to judge, each with its options: names in `stpa.models.heads.HEADS`,
    the most elaborate first."""

    @property
    def freezes_backbone(self) -> bool:
        """Whether heads alone are trained, on stored features."""
        return self.freeze == "backbone"

    @field_validator("num_scales")
    @classmethod
    def _pooled_features_have_one_scale(cls, num_scales: int, info: Info) -> int:
        if info.data.get("top_layer") == "FC" and num_scales != 1:
            raise ValueError(f"model.top_layer FC needs model.num_scales 1, not {num_scales}")
        return num_scales


class StreamConfig(Section):
    """How the networks of one stream are trained."""

    epochs: PositiveInt
    learning_rate: PositiveFloat
    """Of pretrained layers."""
    new_layer_rate: PositiveFloat
    """Multiplies the rate of layers that start from nothing: the attention, the classifier and,
    where `model.pretrained` is false, the backbone. After a warm start none does: it applies while
    the head is trained alone."""
    dropout: ShareBelowOne
    gradient_clip: PositiveFloat
    """Largest L2 norm of the gradient (TSN: 40 for RGB, 20 for flow)."""
    milestones: list[Share]
    """Shares of the run, for the schedule: step goes on at a tenth of the rate after each."""
    scale_jitter: Annotated[list[CropShare], Field(min_length=1)]
    """Crop sides as shares of the short side (TSN: 1, .875, .75, .66; flow without .66)."""


class TrainConfig(Section):
    num_segments: PositiveInt
    """K of training, one random position a segment."""
    input_size: Annotated[int, Field(ge=32)]
    """Side of the square crop given to the network, px."""
    short_side: Annotated[int, Field(ge=32)]
    """Frames are resized to this short side before cropping."""
    stored_views: PositiveInt
    """Number of views of each video whose features are stored to train on, where `model.freeze` is
    backbone or `warm_start` features. The first is the centre crop, which evaluation uses; each
    other is one random crop of all frames, mirrored as `horizontal_flip` says."""
    warm_start: Literal["none", "features"]
    """What a whole network starts from. none: a pretrained backbone and a head that knows nothing,
    whose first gradients disturb the backbone. features: the head is trained alone first, on the
    stored features of the training videos (linear probing, then fine-tuning: Kumar et al., ICLR
    2022); `new_layer_rate` applies to that part only."""
    warm_start_steps: PositiveInt
    """Optimiser steps of a head on features, at least, before its network is trained as a whole."""
    warm_start_frames: PositiveInt
    """Frames of each training video whose features are stored for that."""
    horizontal_flip: bool
    """Mirror half the clips. Off where left and right are different classes."""
    crop_on_device: bool
    """Crop, resize and flip whole batches where the network is; the loader then passes frames on
    whole. Else each clip in its loader process, which costs a GPU nothing."""
    batch_size: PositiveInt
    """Clips per step, over all workers, however many they are."""
    min_steps_per_epoch: PositiveInt
    """An epoch passes over the training clips once or, where they are too few for so many steps,
    as often as it takes: small datasets need steps as well."""
    clips_at_once: Literal["auto"] | int | None
    """Clips of each worker that go through the network together; the gradients of the batch's parts
    are summed up. null: all of its share. Batch norms that learn take statistics of a part.
    auto: as many as fit the free memory of the worker's host or GPU, and on a CPU no more than make
    it faster; a worker that trains alone and runs out of memory goes on with half as many. Where
    batch norms learn, auto is null, and an error where that does not fit."""
    frames_at_once: PositiveInt | None
    """Frames of each clip whose feature maps are held together; more are computed again in the
    backward pass, for long clips in bounded memory. null: all. Needs all batch norms frozen, which
    would take statistics of a part of each clip, twice."""
    optimizer: Literal["sgd", "adamw"]
    momentum: ShareBelowOne
    weight_decay: NonNegativeFloat
    schedule: str
    """A name in `stpa.training.optim.SCHEDULES`. cosine: to zero; step: to a tenth at each stream's
    milestones."""
    warm_up: ShareBelowOne
    """Share of the run in which the rate rises to its height."""
    average_decay: ShareBelowOne
    """The model is a moving average of the weights over the steps, which keeps this share of itself
    at each (0.999 or so); 0: the last weights."""
    label_smoothing: ShareBelowOne
    """Share of each target given to all classes alike, or, where videos have any number of labels,
    to even chances of each; 0: none."""
    mixup_alpha: NonNegativeFloat
    """Blend pairs of a worker's clips by a weight from Beta(alpha, alpha); 0: none."""
    precision: Literal["float32", "bfloat16"]
    """bfloat16: the network in mixed precision; the attention's sums and the losses in float32."""
    compile: bool
    """Compile the network with torch.compile, which takes minutes, for faster steps on a GPU."""
    rates: Literal["uniform", "tsn"]
    """tsn: biases learn twice as fast, and the first convolution of the flow network five times."""
    freeze_batch_norm: Literal["none", "all_but_first", "all", "pretrained"]
    """Keep running statistics and affine terms as they came. all_but_first: TSN's partial BN;
    pretrained: all where `model.pretrained` gives them some, else none."""
    seed: int
    streams: Annotated[dict[str, StreamConfig], Field(min_length=1)]
    """The streams to train networks on, and to fuse: names in `stpa.streams.STREAMS`."""

    @field_validator("streams")
    @classmethod
    def _streams_are_known(cls, streams: dict[str, StreamConfig]) -> dict[str, StreamConfig]:
        if unknown := [name for name in streams if name not in STREAMS]:
            raise ValueError(
                f"train.streams.{unknown[0]} is unknown: choose from {', '.join(STREAMS)}"
            )
        return streams

    @field_validator("short_side")
    @classmethod
    def _frame_covers_the_crop(cls, short_side: int, info: Info) -> int:
        if short_side < (input_size := info.data.get("input_size", 0)):
            raise ValueError(
                f"train.short_side {short_side} is below train.input_size {input_size}"
            )
        return short_side

    @field_validator("clips_at_once", mode="before")
    @classmethod
    def _is_auto_or_a_count(cls, clips: Any) -> Any:
        if clips in ("auto", None) or (type(clips) is int and clips > 0):
            return clips
        raise ValueError(f"train.clips_at_once {clips!r} must be auto, null or a number from 1 on")

    @field_validator("freeze_batch_norm")
    @classmethod
    def _chunks_share_no_statistics(cls, which: str, info: Info) -> str:
        if info.data.get("frames_at_once") is not None and which not in ("all", "pretrained"):
            raise ValueError(f"train.frames_at_once needs train.freeze_batch_norm all, not {which}")
        return which

    def frozen_batch_norms(self, pretrained: bool | str) -> str:
        """Return which batch norms keep what they came with: none, all_but_first, or all.

        `pretrained` is that of `ModelConfig`.
        """
        if self.freeze_batch_norm != "pretrained":
            return self.freeze_batch_norm
        return "none" if pretrained is False else "all"

    def stream(self, stream: Stream) -> StreamConfig:
        """Return the part for one stream's networks."""
        return self.streams[stream.name]
