"""The shape of params.yaml as frozen models: unknown keys and values out of range are errors.

Functions take the smallest piece they need (`StreamConfig`, not `Config`). No field that
changes a result has a default here: params.yaml states them all. Read one with
`stpa.params.load_config`, which also checks names against their registries, files, and what
sections ask of each other.

What two fields of a section ask of each other is checked with the later one, so that it is told
together with the faults of all others; `info.data` has the earlier ones that are sound.
"""

from typing import Annotated

from pydantic import Field

from stpa.config.base import Section
from stpa.config.data import (
    DataConfig,
    DecodeConfig,
    OpticalFlowConfig,
    SplitConfig,
    StoreConfig,
    SyntheticConfig,
    TranscodeConfig,
)
from stpa.config.judging import EvaluateConfig, PromotionConfig, RegisteredConfig
from stpa.config.surroundings import ComputeConfig, Notices, TrackingConfig
from stpa.config.training import ModelConfig, StreamConfig, TrainConfig
from stpa.streams import STREAMS, Stream

__all__ = [
    "FORMAT",
    "ComputeConfig",
    "Config",
    "DataConfig",
    "DecodeConfig",
    "EvaluateConfig",
    "ModelConfig",
    "Notices",
    "OpticalFlowConfig",
    "PromotionConfig",
    "RegisteredConfig",
    "Section",
    "SplitConfig",
    "StoreConfig",
    "StreamConfig",
    "SyntheticConfig",
    "TrackingConfig",
    "TrainConfig",
    "TranscodeConfig",
]

FORMAT = 3
"""Of params.yaml; `stpa.params.upgrade` brings older files to it."""


class Config(Section):
    """All of params.yaml."""

    version: Annotated[int, Field(ge=FORMAT, le=FORMAT, strict=True)]
    """The format of the file."""
    data: DataConfig
    optical_flow: OpticalFlowConfig
    model: ModelConfig
    train: TrainConfig
    evaluate: EvaluateConfig
    promotion: PromotionConfig
    compute: ComputeConfig
    tracking: TrackingConfig
    notices: Notices

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The streams to train networks on, and to fuse, in the order of `STREAMS`."""
        return tuple(stream for name, stream in STREAMS.items() if name in self.train.streams)

    @property
    def reads_optical_flow(self) -> bool:
        """Whether any network is trained on optical flow."""
        return any(stream.reads_optical_flow for stream in self.streams)

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of the heads to train and to judge."""
        return tuple(self.model.heads)

    @property
    def starts_warm(self) -> bool:
        """Whether heads learn from features first, and then whole networks."""
        return self.train.warm_start == "features" and not self.model.freezes_backbone

    @property
    def fits_fusion(self) -> bool:
        """Whether training recordings are held out, to weigh the streams and to choose a head."""
        return self.evaluate.late_fusion == "fitted"

    @property
    def stores_features(self) -> bool:
        """Whether anything learns from the features of the backbone as it starts."""
        return self.model.freezes_backbone or self.starts_warm

    @property
    def clips_per_worker(self) -> int:
        """The largest number of a step's clips that any worker of a training takes."""
        return -(-self.train.batch_size // self.compute.workers_per_stream)
