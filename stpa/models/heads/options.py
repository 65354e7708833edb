"""The settings of a head."""

from collections.abc import Mapping
from dataclasses import dataclass

from stpa.options import Options


@dataclass(frozen=True)
class HeadOptions(Options):
    """The settings of a head: `model.heads.NAME` in params.yaml. Most heads have none."""

    @property
    def loss_weights(self) -> Mapping[str, float]:
        """The weight of each of the head's own losses, by its name in `HeadOutput.terms`."""
        return {}

    @property
    def warnings(self) -> Mapping[str, str]:
        """What is wrong with settings that are allowed, by a short name, each with what to do."""
        return {}
