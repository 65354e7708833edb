"""Where the work runs, and who is told: nothing here but the number of workers changes results."""

import re
from typing import Annotated, Literal

from pydantic import Field, PlainSerializer, field_validator

from stpa.config.base import NonNegativeFloat, PositiveFloat, PositiveInt, Section
from stpa.redaction import hide_path


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
