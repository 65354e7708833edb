"""The shape of params.yaml as frozen models: unknown keys and values out of range are errors.

Functions take the smallest piece they need (`StreamConfig`, not `Config`). No field that
changes a result has a default here: params.yaml states them all. Read one with
`stpa.params.load_config`, which also checks names against their registries, files, and what
sections ask of each other.

What two fields of a section ask of each other is checked with the later one, so that it is told
together with the faults of all others; `info.data` has the earlier ones that are sound.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, field_validator

from stpa.redaction import hide_path
from stpa.streams import STREAMS, Stream

FORMAT = 3
"""Of params.yaml; `stpa.params.upgrade` brings older files to it."""

Share = Annotated[float, Field(ge=0, le=1)]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]
CropShare = Annotated[float, Field(gt=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1, strict=True)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
OfChannels = Field(min_length=3, max_length=3)
OfBounds = Field(min_length=2, max_length=2)
OptionValue = str | int | float | bool
Info = Any  # pydantic's ValidationInfo, a protocol that beartype cannot check by


class Section(BaseModel):
    """A frozen part of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SyntheticConfig(Section):
    """The generated clips; see `stpa.data.datasets.synthetic`."""

    num_groups: Annotated[int, Field(ge=2)]
    """Groups per class; a group shares its clutter, camera and palette."""
    clips_per_group: PositiveInt
    num_frames: Annotated[int, Field(ge=16)]
    size_px: Annotated[int, Field(ge=64)]
    """Side of the square frame."""
    action_share: Annotated[list[Annotated[float, Field(ge=0.1, le=1)]], OfBounds]
    """Lowest and highest share of a clip's frames in which the action goes on."""
    actor_radius: Annotated[list[Annotated[float, Field(ge=0.04, le=0.25)]], OfBounds]
    """Smallest and largest radius of the actor, as shares of the frame's side. Its box covers
    (2 radius)^2 of the frame: a fortieth at 0.079, a tenth at 0.158."""
    home: Literal["centre", "anywhere"]
    """Where the actor is. centre: within 0.16 of the side from the middle, along x and y, besides
    its swing. anywhere: wherever its box stays in the frame, all places alike; from a radius of
    0.18 on that is no more than centre."""
    distractor: Literal["none", "mover"]
    """mover: a second disc of no class, larger than any actor. It has the colours of all classes
    and moves in all three ways at once, for half of the clip or longer."""
    clutter: Literal["still", "changing"]
    """changing: coloured patches that fade in and out all over the scene."""
    seed: int

    @field_validator("action_share", "actor_radius")
    @classmethod
    def _low_comes_first(cls, bounds: list[float]) -> list[float]:
        low, high = bounds
        if low > high:
            raise ValueError(f"{low:g} is above {high:g}: state the lower bound first")
        return bounds


class TranscodeConfig(Section):
    """How ingest encodes videos anew: H.264 without B-frames or sound, upright, frame for frame.

    The file keeps its name, and is MP4 whatever that ends in; see `stpa.data.transcode`.
    """

    short_side: Annotated[int, Field(ge=16)]
    """Pixels of the shorter side; smaller videos keep their size."""
    gop: PositiveInt
    """Frames from one key frame to the next at most: what a reader may have to decode for one."""
    quality: Annotated[int, Field(ge=0, le=51)]
    """CRF of x264: lower is better and larger; 18 is hardly told from the original."""


class SplitConfig(Section):
    """The part of `data` that decides which video is in which split."""

    dataset: str
    """A name in `stpa.data.datasets.DATASETS`."""
    split: PositiveInt
    """Which official split (Charades has one), or which fold of groups for a labelled folder."""
    num_folds: Annotated[int, Field(ge=2)]
    """For a labelled folder: one fold of its groups in this many is held out."""
    group_pattern: str
    """For a labelled folder: a regular expression whose first group, searched in the file name,
    names the recording that a clip was cut from. Clips of one recording never part."""

    @field_validator("num_folds")
    @classmethod
    def _folds_include_the_split(cls, num_folds: int, info: Info) -> int:
        split = info.data.get("split", 1)
        if info.data.get("dataset") == "folder" and split > num_folds:
            raise ValueError(f"data.split {split} is above data.num_folds {num_folds}")
        return num_folds

    @field_validator("group_pattern")
    @classmethod
    def _pattern_has_a_group(cls, pattern: str) -> str:
        try:
            num_groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"data.group_pattern {pattern!r} is no regex: {error}") from error
        if num_groups == 0:
            raise ValueError(f"data.group_pattern {pattern!r} has no group: put one in parentheses")
        return pattern


class DecodeConfig(Section):
    """The part of `data` that decoding any video needs."""

    decode_deadline_seconds: PositiveFloat
    """Kill a process whose decoder gives no frame for so long. At ingest the video is quarantined;
    later it ends the run by name."""
    max_frames: PositiveInt | None
    """Quarantine a video that has, or says that it has, more frames; null: any number."""
    max_megapixels: PositiveFloat | None
    """Quarantine a video whose frames have more pixels, in millions: 8K has 33 to 36; null: any
    number. Decoders hold up to 17 frames of 1.5 bytes per pixel or more."""
    decode_memory_gib: Annotated[float, Field(ge=0.5)] | None
    """Memory of each process that decodes a new video, one per core at ingest. A video that needs
    more is quarantined; null: as much as there is."""


class StoreConfig(DecodeConfig):
    """The part of `data` that bringing back stored data needs."""

    remote: str
    """The DVC remote: a folder (relative to the workspace) or an s3:// address."""


class DataConfig(SplitConfig, StoreConfig):
    """All of `data`."""

    source: str | None
    """The folder to ingest from; `stpa ingest SOURCE` overrides it. Generated data need none."""
    max_quarantined: Share
    """Stop when a larger share of the videos does not decode."""
    transcode: TranscodeConfig | None
    """null: keep videos as they come. A video that is not encoded by the deadline is kept too."""
    synthetic: SyntheticConfig | None

    @field_validator("transcode")
    @classmethod
    def _comes_from_a_source(
        cls, transcode: TranscodeConfig | None, info: Info
    ) -> TranscodeConfig | None:
        if transcode is not None and info.data.get("dataset") == "synthetic":
            raise ValueError("data.transcode is for videos of a source: set it to null")
        return transcode

    @field_validator("synthetic")
    @classmethod
    def _described(cls, synthetic: SyntheticConfig | None, info: Info) -> SyntheticConfig | None:
        if synthetic is None and info.data.get("dataset") == "synthetic":
            raise ValueError("data.synthetic is null, but data.dataset synthetic needs it")
        return synthetic


class OpticalFlowConfig(Section):
    """Part of the data version: mismatched flow quietly costs accuracy."""

    estimator: str
    """A name in `stpa.optical_flow.ESTIMATORS`."""
    options: dict[str, OptionValue]
    """Of the estimator: tvl1 takes `parameters`, raft `weights` (a path or a URL)."""
    bound_px: PositiveFloat
    """Displacements are clipped to [-bound_px, bound_px] and stored in 8 bits (TSN: 20)."""
    width: PositiveInt
    """Frames are resized to width x height before the flow is taken (TSN: 340 x 256)."""
    height: PositiveInt


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


class EvaluateConfig(Section):
    num_segments: PositiveInt
    """K of the headline figures and of the served model."""
    sweep: Annotated[list[PositiveInt], Field(min_length=1)]
    """Every K of the K-sweep (paper: 1, 5, 10, 15, 20, 25, 30)."""
    num_crops: Literal[1, 5, 10]
    """Crops of each test frame, whose logits are averaged: the centre; with the four corners; and
    those mirrored (TSN: 10)."""
    grid: str
    """A name in `stpa.data.sampling.GRIDS`. exact: each K of the sweep at its own test positions;
    nested: at positions of the largest K, which then costs no more than that K alone."""
    frames_per_task: PositiveInt
    """A video of which a sweep looks at more frames is parted over several tasks, if the head's
    states merge; others are a task each."""
    late_fusion: str
    """How the streams' logits become one: a fixed rule, a name in
    `stpa.evaluation.fusion.FUSION_RULES`; or fitted, weights found on training recordings that are
    held out in turn, while heads learn from the features of the others."""

    @field_validator("sweep")
    @classmethod
    def _headline_is_swept(cls, sweep: list[int], info: Info) -> list[int]:
        k = info.data.get("num_segments")
        if k is not None and k not in sweep:
            raise ValueError(f"evaluate.num_segments {k} is not in evaluate.sweep {sweep}")
        return sweep


class RegisteredConfig(Section):
    """The part of `promotion` that finds a registered model."""

    model_name: str
    """Registered as <model_name>-rgb, -flow and -fusion."""

    @field_validator("model_name")
    @classmethod
    def _registry_takes_the_name(cls, name: str) -> str:
        if not re.fullmatch(r"\w[\w .-]*", name):
            raise ValueError(
                f"promotion.model_name {name!r} is no name for MLflow: use letters, digits, "
                "spaces and _ . - only, a letter or digit first"
            )
        return name


class PromotionConfig(RegisteredConfig):
    """All of `promotion`."""

    rules: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    """What is demanded of a challenger, all of it: names in `stpa.registry.rules.RULES`, each with
    its limits."""
    candidate: str
    """The head that is put up for promotion: one of `model.heads`; or auto, the one that finds the
    labels of held-out training videos likelier, where `evaluate.late_fusion` is fitted; of heads
    that do not differ by more than a standard error, the one named last."""


class ComputeConfig(Section):
    """Where the work runs. Of this, only the number of workers changes results."""

    address: str | None
    """A Ray cluster's address, host:6379 or ray://host:10001, or its Jobs API's, http://host:8265,
    which runs `stpa train`, `stpa retrain` and `stpa search` as jobs. null: RAY_ADDRESS, or a
    cluster of this machine's own."""
    workers_per_stream: PositiveInt
    """Data-parallel training processes for each network, which share each batch."""
    fewest_workers: PositiveInt | None
    """As few will do where there is no room for more, and as many as there is room for are taken
    when that changes, at the cost of the steps since the last checkpoint. null: all of them."""
    cpus_per_worker: PositiveFloat
    gpus_per_worker: NonNegativeFloat
    """0: networks run on the CPU."""
    checkpoint_steps: PositiveInt | None
    """Steps from one checkpoint to the next; null: one at the end of each epoch, which there always
    is."""
    checkpoints: str | None
    """Where trainings under way keep them: an s3:// address, or a folder that all nodes share;
    null: in the workspace."""
    max_restarts: Annotated[int, Field(ge=0)]
    """Of a training, after the loss of a worker or a node, from its last checkpoint. The loss of a
    node that gave notice does not count."""
    loader_processes: Annotated[int, Field(ge=0)]
    """Decoding processes a training worker. 0 decodes in the worker itself, where nothing ends a
    decoder that hangs."""
    read_from: Literal["workspace", "remote"]
    """Where workers read videos and optical flow. workspace: in its folder, which all nodes must
    share; remote: in data.remote, of which each node keeps a part. Models are in the
    workspace's folder either way. Readers know AWS's own settings (the environment, ~/.aws),
    not those of DVC."""
    cache_folder: str
    """Where a node keeps what it has read from the remote: absolute, or below ~, the home of who
    runs Ray there."""
    cache_gb: PositiveFloat
    """How much of it; each process that reads may add a sixteenth before it counts."""

    @field_validator("checkpoints")
    @classmethod
    def _is_absolute(cls, place: str | None) -> str | None:
        if place is not None and not re.match(r"/|s3://[^/]", place):
            raise ValueError(f"compute.checkpoints {place!r} must begin with / or s3://bucket")
        return place

    @field_validator("cache_folder")
    @classmethod
    def _is_the_same_everywhere(cls, folder: str) -> str:
        if not folder.startswith(("/", "~/")):
            raise ValueError(f"compute.cache_folder {folder!r} must begin with / or ~/")
        return folder

    @property
    def device(self) -> str:
        """Where a worker's networks are, as torch names it."""
        return "cuda" if self.gpus_per_worker else "cpu"


class TrackingConfig(Section):
    uri: str | None
    """MLflow's tracking server; null keeps an SQLite file in the workspace."""
    experiment: Annotated[str, Field(min_length=1)]


def _without_secrets(notices: dict[str, str | None]) -> dict[str, str | None]:
    """Leave out what follows an address's host, wherever parameters are kept or shown."""
    return {name: setting and hide_path(setting) for name, setting in notices.items()}


Notices = Annotated[dict[str, str | None], PlainSerializer(_without_secrets)]
"""Where decisions and failed trainings are told: names in `stpa.channels.CHANNELS`, each with its
setting; null: not there. They decide no result."""


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
