"""What is trained: everything that decides a network's weights, and where its clips are."""

import math
from dataclasses import dataclass, replace

import numpy as np

from stpa.config import ModelConfig, TrainConfig
from stpa.data.features import FeatureSource
from stpa.data.manifest import Video, label_matrix
from stpa.data.step_sampler import StepSampler
from stpa.data.storage import Storage
from stpa.models.backbones import published_normalisation
from stpa.models.heads import HeadOptions, head_options
from stpa.models.network import NetworkSpec
from stpa.streams import Stream
from stpa.training.learning import Ignorance, LearningCheck
from stpa.training.loop import StepOptions

PHOTOGRAPH_DEVIATION = 57.4
"""Of ImageNet's levels about their mean, over its channels (0.225 of 255)."""


@dataclass(frozen=True)
class TrainingJob:
    """Everything that decides the trained weights, and where the clips are."""

    stream: Stream
    head: str
    model: ModelConfig
    train: TrainConfig
    class_names: tuple[str, ...]
    multi_label: bool
    """As `Manifest.multi_label`."""
    videos: tuple[Video, ...]
    storage: Storage
    """Holds the stream's files: the videos, or the stored optical flow."""
    motion_deviation: float | None = None
    """Of a motion stream (`stpa.data.motion_level`); `model.flow_input: measured` scales by it."""
    features: FeatureSource | None = None
    """What the backbone as it starts makes of the stream's files, where that is learnt from."""
    validation: tuple[Video, ...] = ()
    """Judged by after each epoch; they change no weight. None: nothing is judged."""

    @property
    def name(self) -> str:
        """What a person knows the network by, such as "rgb stpa"."""
        return f"{self.stream} {self.head}"

    @property
    def head_options(self) -> HeadOptions:
        """The head's settings."""
        return head_options(self.head, self.model.heads[self.head])

    @property
    def num_epochs(self) -> int:
        return self.train.stream(self.stream).epochs

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps, however many workers share them."""
        return len(StepSampler.of(len(self.videos), self.train))

    @property
    def num_steps(self) -> int:
        """Optimiser steps over all epochs."""
        return self.num_epochs * self.steps_per_epoch

    @property
    def clips_per_step(self) -> float:
        """Mean over the steps: the last one of a pass over the clips takes what is left."""
        return StepSampler.of(len(self.videos), self.train).mean_size

    @property
    def learning_check(self) -> LearningCheck:
        """What finds out whether this training learns."""
        ignorance = Ignorance.of(
            label_matrix(self.videos, self.class_names).astype(np.float64),
            label_smoothing=self.train.label_smoothing,
            multi_label=self.multi_label,
        )
        return LearningCheck(
            self.stream,
            self.num_epochs,
            self.steps_per_epoch,
            ignorance,
            head=self.head,
            head_warnings=self.head_options.warnings,
            head_is_first=self.features is not None,
        )

    @property
    def spec(self) -> NetworkSpec:
        """The network to train."""
        published_mean, published_std = published_normalisation(self.model.backbone)
        std = tuple(self.model.input_std or published_std)
        if self.motion_deviation is not None and self.model.flow_input == "measured":
            std = tuple(each * self.motion_deviation / PHOTOGRAPH_DEVIATION for each in std)
        return NetworkSpec(
            stream=self.stream,
            head=self.head,
            head_options=self.head_options.to_dict(),
            backbone=self.model.backbone,
            backbone_options=self.model.backbone_options,
            top_layer=self.model.top_layer,
            num_scales=self.model.num_scales,
            downsampling=self.model.downsampling,
            flow_stem=self.model.flow_stem,
            dropout=self.train.stream(self.stream).dropout,
            class_names=self.class_names,
            multi_label=self.multi_label,
            input_size=self.train.input_size,
            short_side=self.train.short_side,
            input_mean=tuple(self.model.input_mean or published_mean),
            input_std=std,
        )

    @property
    def learns_from_features(self) -> bool:
        """Whether the head alone learns, from `features`."""
        return self.model.freezes_backbone

    @property
    def starts_warm(self) -> bool:
        """Whether the head learns from `features` first, and then the whole network."""
        return self.features is not None and not self.learns_from_features

    @property
    def of_head(self) -> "TrainingJob":
        """The training that a warm start begins with: of the head alone, on `features`.

        Its rates and epochs are those of new layers in the whole training, but for its number of
        steps: `train.warm_start_steps` at least.
        """
        least = math.ceil(self.train.warm_start_steps / self.num_epochs)
        train = self.train.model_copy(
            update={
                "min_steps_per_epoch": max(self.train.min_steps_per_epoch, least),
                "compile": False,
            }
        )
        model = self.model.model_copy(update={"freeze": "backbone"})
        return replace(self, model=model, train=train, validation=())

    @property
    def new_layer_rate(self) -> float:
        """Multiplies the rate of layers that start from nothing, which a warm head does not."""
        return 1.0 if self.starts_warm else self.train.stream(self.stream).new_layer_rate

    @property
    def frozen(self) -> str:
        """What of the backbone keeps the weights that it came with (`stpa.training.optim`)."""
        if self.learns_from_features:
            return "backbone"
        return self.train.frozen_batch_norms(self.model.pretrained)

    @property
    def may_part_steps(self) -> bool:
        """Whether workers may choose how many clips go at once: no batch norm takes statistics."""
        return self.train.clips_at_once == "auto" and self.frozen in ("all", "backbone")

    def step_options(self, clips_at_once: int) -> StepOptions:
        """Return how a step is computed, with so many clips at once."""
        train = self.train
        return StepOptions(
            multi_label=self.multi_label,
            loss_weights=self.head_options.loss_weights,
            gradient_clip=train.stream(self.stream).gradient_clip,
            label_smoothing=train.label_smoothing,
            mixup_alpha=train.mixup_alpha,
            precision=train.precision,
            clips_at_once=clips_at_once,
            frames_at_once=train.frames_at_once,
        )
