"""How networks are judged, and which are served."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from stpa.config.base import Info, PositiveInt, Section


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
    """Registered as <model_name>-STREAM, one per stream, and <model_name>-fusion."""

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
