"""What goes in: videos, and optical flow."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from stpa.config.base import Info, OfBounds, OptionValue, PositiveFloat, PositiveInt, Section, Share


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
