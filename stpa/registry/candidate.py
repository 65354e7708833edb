"""What is put up for promotion: the networks and their fusion, and how they were judged."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from stpa.config import OpticalFlowConfig
from stpa.errors import RegistryError
from stpa.evaluation.fusion import Fusion
from stpa.registry.judgement import Judgement
from stpa.streams import FLOW, RGB, Stream


class Serving(BaseModel):
    """All that prediction needs beside the networks' own folders."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    class_names: tuple[str, ...]
    num_segments: int
    num_crops: int
    late_fusion: str | None = None
    """A name in `stpa.evaluation.fusion.FUSION_RULES`, or fitted; none for a single stream."""
    fusion_weights: dict[str, float] | None = None
    """Of each stream's logits, where they are fitted."""
    optical_flow: OpticalFlowConfig
    versions: dict[str, int] = {}
    """The registered networks that a fusion fuses."""

    @field_validator("fusion_weights", mode="before")
    @classmethod
    def _of_two_streams(cls, weights: Any) -> Any:
        """Read the weights of versions that fused RGB and flow alone."""
        if isinstance(weights, list | tuple):
            return dict(zip((RGB.name, FLOW.name), weights, strict=True))
        return weights

    @property
    def fusion(self) -> Fusion | None:
        """How the streams are fused; None for a single one."""
        return None if self.late_fusion is None else Fusion(self.late_fusion, self.fusion_weights)


def read_serving(settings: Mapping[str, Any], model: str) -> Serving:
    """Read the settings stored with `model`. Raises RegistryError."""
    try:
        return Serving.model_validate(settings)
    except ValidationError as error:
        raise RegistryError(
            f"{model} was registered by another version of stpa, and cannot be served by this "
            "one: delete its alias champion in MLflow, and promote a new one"
        ) from error


@dataclass(frozen=True)
class TrainedStream:
    """One stream of a candidate: its model folder and the tracked run that made it."""

    folder: Path
    run_id: str


@dataclass(frozen=True)
class Candidate:
    """The trained networks of each stream, the rule that fuses them, and their judgement."""

    key: str
    """Digest of everything that determined the networks and the judgement."""
    networks: Mapping[Stream, TrainedStream]
    head: str
    reason: str
    """Why it is that head, for a person."""
    fusion: Fusion
    num_segments: int
    num_crops: int
    judgement: Judgement
