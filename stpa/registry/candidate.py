"""What is put up for promotion: three models' worth of files, and how they were judged."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stpa.config import OpticalFlowConfig, Stream


class Judgement(BaseModel):
    """The fused predictions of one classifier on the test videos of one data version.

    Labels and predictions are class names, so that classifiers with different classes compare.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_version: str
    class_names: tuple[str, ...] = Field(min_length=2)
    """What the classifier can answer."""
    video_ids: tuple[str, ...] = Field(min_length=1)
    labels: tuple[str, ...]
    predictions: tuple[str, ...]

    @model_validator(mode="after")
    def _one_answer_a_video(self) -> "Judgement":
        counts = len(self.video_ids), len(self.labels), len(self.predictions)
        if len(set(counts)) > 1 or len(set(self.video_ids)) < len(self.video_ids):
            raise ValueError(f"video_ids must be unique, one label and prediction each: {counts}")
        return self

    @property
    def correct(self) -> dict[str, bool]:
        """Whether each video was named rightly."""
        answers = zip(self.video_ids, self.labels, self.predictions, strict=True)
        return {video_id: label == prediction for video_id, label, prediction in answers}

    @property
    def top1(self) -> float:
        """Share of the videos named rightly."""
        return sum(self.correct.values()) / len(self.video_ids)


class Serving(BaseModel):
    """All that prediction needs beside the networks' own folders."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    class_names: tuple[str, ...]
    num_segments: int
    num_crops: int
    late_fusion: str | None = None
    """A name in `stpa.evaluation.fusion.FUSION_RULES`; none for a single stream."""
    optical_flow: OpticalFlowConfig
    versions: dict[Stream, int] = {}
    """The registered networks that a fusion fuses."""


@dataclass(frozen=True)
class Network:
    """One trained stream: its model folder and the tracked run that made it."""

    folder: Path
    run_id: str


@dataclass(frozen=True)
class Candidate:
    """Two trained networks, the rule that fuses them, and their judgement."""

    key: str
    """Digest of everything that determined the networks and the judgement."""
    networks: Mapping[Stream, Network]
    late_fusion: str
    num_segments: int
    num_crops: int
    judgement: Judgement
