"""The shape of params.yaml as frozen models: unknown keys and values out of range are errors.

Functions take the smallest piece they need (`StreamConfig`, not `Config`). No field that
changes a result has a default here: params.yaml states them all. Read one with
`stpa.params.load_config`.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
CropShare = Annotated[float, Field(gt=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]


class Stream(StrEnum):
    """The two networks of a two-stream classifier."""

    RGB = "rgb"
    FLOW = "flow"


class Section(BaseModel):
    """A frozen part of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SyntheticConfig(Section):
    """The generated clips; see `stpa.data.datasets.synthetic`."""

    num_groups: Annotated[int, Field(ge=2)]
    """Groups per class; a group shares its clutter, camera and palette."""
    clips_per_group: PositiveInt
    num_frames: Annotated[int, Field(ge=16)]
    size_px: Annotated[int, Field(ge=64)]
    """Side of the square frame."""
    seed: int


class DataConfig(Section):
    dataset: str
    """A name in `stpa.data.datasets.DATASETS`."""
    source: str | None
    """The folder to ingest from; `stpa ingest SOURCE` overrides it. Generated data need none."""
    split: PositiveInt
    """Which official split, or which fold of groups for a labelled folder."""
    num_folds: Annotated[int, Field(ge=2)]
    """For a labelled folder: one fold of its groups in this many is held out."""
    group_pattern: str
    """For a labelled folder: a regular expression whose first group, searched in the file name,
    names the recording that a clip was cut from. Clips of one recording never part."""
    max_quarantined: Share
    """Stop when a larger share of the videos does not decode."""
    probe_deadline_seconds: PositiveFloat
    """Kill the decoding of one video after this long and quarantine it."""
    remote: str
    """The DVC remote: a folder (relative to the workspace) or an s3:// address."""
    synthetic: SyntheticConfig | None


class OpticalFlowConfig(Section):
    """Part of the data version: mismatched flow quietly costs accuracy."""

    estimator: str
    """A name in `stpa.optical_flow.ESTIMATORS`."""
    bound_px: PositiveFloat
    """Displacements are clipped to [-bound_px, bound_px] and stored in 8 bits (TSN: 20)."""
    width: PositiveInt
    """Frames are resized to width x height before the flow is taken (TSN: 340 x 256)."""
    height: PositiveInt


class ModelConfig(Section):
    backbone: str
    """A timm model name."""
    pretrained: bool | str
    """true: timm's published weights; false: random; else the path of a safetensors file."""
    backbone_options: dict[str, str | int | float | bool]
    """Passed to `timm.create_model`, for weights that need them (padding, BN epsilon)."""
    input_mean: Annotated[list[float], Field(min_length=3, max_length=3)]
    """Per RGB channel, in 0-255; what the backbone's weights were trained with."""
    input_std: Annotated[list[PositiveFloat], Field(min_length=3, max_length=3)]
    num_scales: Annotated[int, Field(ge=1, le=4)]
    """N, feature maps in the pyramid."""
    fusion: Literal["maximum", "sum", "product"]
    """F of eq. 3, over the scales' scores."""
    downsampling: Literal["max", "average"]
    """R of eq. 1, from each map to the size of the top one."""


class StreamConfig(Section):
    """How one of the two networks is trained."""

    epochs: PositiveInt
    learning_rate: PositiveFloat
    """Of the pretrained layers and, scaled by `new_layer_rate`, of the new ones."""
    new_layer_rate: PositiveFloat
    """Multiplies the rate of the attention and the classifier."""
    dropout: Annotated[float, Field(ge=0, lt=1)]
    gradient_clip: PositiveFloat
    """Largest L2 norm of the gradient (TSN: 40 for RGB, 20 for flow)."""
    scale_jitter: Annotated[list[CropShare], Field(min_length=1)]
    """Crop sides as shares of the short side (TSN: 1, .875, .75, .66; flow without .66)."""


class TrainConfig(Section):
    num_segments: PositiveInt
    """K of training, one random position a segment."""
    input_size: Annotated[int, Field(ge=32)]
    """Side of the square crop given to the network, px."""
    short_side: Annotated[int, Field(ge=32)]
    """Frames are resized to this short side before cropping."""
    horizontal_flip: bool
    """Mirror half the clips. Off where left and right are different classes."""
    batch_size: PositiveInt
    """Clips a step, over all workers."""
    optimizer: Literal["sgd", "adamw"]
    momentum: Share
    weight_decay: NonNegativeFloat
    schedule: Literal["cosine", "step"]
    """cosine: to zero, after a tenth of warm-up; step: to a tenth at 1/2 and 5/6 of the run."""
    freeze_batch_norm: Literal["none", "all_but_first", "all"]
    """Keep running statistics and affine terms as they came (TSN's partial BN)."""
    interactive_weight: NonNegativeFloat
    """beta of eq. 9, on l_interactive (eq. 6)."""
    attention_weight: NonNegativeFloat
    """gamma of eq. 9, on l_attn (eq. 8)."""
    seed: int
    rgb: StreamConfig
    flow: StreamConfig

    def stream(self, stream: Stream) -> StreamConfig:
        """Return the part for one network."""
        return self.rgb if stream is Stream.RGB else self.flow


class EvaluateConfig(Section):
    num_segments: PositiveInt
    """K of the headline figures and of the served model."""
    sweep: Annotated[list[PositiveInt], Field(min_length=1)]
    """Every K of the K-sweep (paper: 1, 5, 10, 15, 20, 25, 30)."""
    shard_size: PositiveInt
    """Videos per Ray task."""
    late_fusion: str
    """A name in `stpa.evaluation.fusion.FUSION_RULES`."""
    baseline: bool
    """Also train and judge plain TSN averaging on the same backbone and data."""

    @model_validator(mode="after")
    def _headline_is_swept(self) -> "EvaluateConfig":
        if self.num_segments not in self.sweep:
            raise ValueError(f"num_segments {self.num_segments} is not in sweep {self.sweep}")
        return self


class PromotionConfig(Section):
    model_name: str
    """Registered as <model_name>-rgb, -flow and -fusion."""
    rules: list[str]
    """Names in `stpa.registry.rules.RULES`; all must pass."""
    min_gain: float
    """Top-1 the challenger must gain on the champion; negative tolerates a loss."""


class ComputeConfig(Section):
    """Where the work runs. Of this, only the number of workers changes results."""

    address: str | None
    """A Ray cluster's address; null starts one on this machine."""
    workers_per_stream: PositiveInt
    """Data-parallel training processes for each network."""
    cpus_per_worker: PositiveFloat
    gpus_per_worker: NonNegativeFloat
    loader_processes: Annotated[int, Field(ge=0)]
    """Decoding processes a training worker; 0 decodes in the worker itself."""


class TrackingConfig(Section):
    uri: str | None
    """MLflow's tracking server; null keeps an SQLite file in the workspace."""
    experiment: str


class Config(Section):
    """All of params.yaml."""

    data: DataConfig
    optical_flow: OpticalFlowConfig
    model: ModelConfig
    train: TrainConfig
    evaluate: EvaluateConfig
    promotion: PromotionConfig
    compute: ComputeConfig
    tracking: TrackingConfig

    @model_validator(mode="after")
    def _batch_divides_by_workers(self) -> "Config":
        workers = self.compute.workers_per_stream
        if self.train.batch_size % workers:
            raise ValueError(
                f"train.batch_size {self.train.batch_size} must divide by "
                f"compute.workers_per_stream {workers}"
            )
        if self.train.short_side < self.train.input_size:
            raise ValueError(
                f"train.short_side {self.train.short_side} is below "
                f"train.input_size {self.train.input_size}"
            )
        return self
