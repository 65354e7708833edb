"""What sections of params.yaml are made of."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

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
