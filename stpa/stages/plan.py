"""What a workspace is to hold by its data and parameters: which networks, and in which files."""

from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from stpa.config import Config
from stpa.data.versioning import DataVersion, read_version
from stpa.evaluation.k_sweep import Sweep
from stpa.files import digest_value
from stpa.stages.feature_files import stored_sweep
from stpa.stages.training_key import training_key
from stpa.streams import Stream
from stpa.workspace import Workspace

HELD_OUT_FOLDS = 3
"""Each training video is scored by a head that has learnt from two thirds of the recordings."""


@dataclass(frozen=True)
class Network:
    """A network to train: a stream with a head. Its files are named by what decides them."""

    stream: Stream
    head: str
    key: str
    """Digest of everything that decides the weights (`training_key`)."""
    folder: Path
    """Of its training."""
    scores: Path
    """Of the test videos, at every K of the sweep."""
    held_out_scores: Path
    """Of training videos, by heads that have not learnt from their recordings."""

    @property
    def name(self) -> str:
        """As `TrainingJob.name`."""
        return f"{self.stream} {self.head}"

    @property
    def checkpoints(self) -> Path:
        """Ray Train's storage, while it trains."""
        return self.folder / "checkpoints"

    @property
    def result(self) -> Path:
        """The model folder and the history; there once training has ended."""
        return self.folder / "result"

    @property
    def model(self) -> Path:
        """The model folder (`stpa.models.checkpoint`)."""
        return self.result / "model"

    @property
    def record(self) -> Path:
        """There once MLflow has everything too."""
        return self.folder / "done.json"

    @property
    def is_trained(self) -> bool:
        """Whether there is nothing left to do for its training."""
        return self.record.exists()


@dataclass(frozen=True)
class Plan:
    """A workspace, as its parameters and its data stand: what all stages from training on do."""

    workspace: Workspace
    config: Config
    data: DataVersion
    networks: tuple[Network, ...]
    """Each head with each stream, in the order of their training."""

    def network(self, stream: Stream, head: str) -> Network:
        """Return one of the networks."""
        return next(each for each in self.of_head(head) if each.stream == stream)

    def of_head(self, head: str) -> tuple[Network, ...]:
        """Return the networks of a head, which are fused with each other."""
        return tuple(each for each in self.networks if each.head == head)


def make_plan(workspace: Workspace, config: Config) -> Plan:
    """Resolve a workspace. Raises VersioningError before the first extraction."""
    data = read_version(workspace.root)
    networks = tuple(
        _resolve(workspace, config, data, stream, head)
        for head, stream in product(config.heads, config.streams)
    )
    return Plan(workspace, config, data, networks)


def configured_sweep(config: Config) -> Sweep:
    """Return what params.yaml says is looked at of each test video."""
    values_of_k = tuple(sorted(set(config.evaluate.sweep)))
    return Sweep(values_of_k, config.evaluate.grid, config.evaluate.num_crops)


def held_out_segments(config: Config) -> int:
    """Return the K of held-out scores: the headline's, or that of a warm start's features."""
    stored = stored_sweep(config).values_of_k
    return config.evaluate.num_segments if config.model.freezes_backbone else stored[0]


def _resolve(
    workspace: Workspace, config: Config, data: DataVersion, stream: Stream, head: str
) -> Network:
    name, key = f"{stream}-{head}", training_key(config, stream, head, data)

    def scores_file(kind: str, **determinants: Any) -> Path:
        # Data of all streams: scores of different data are not fused.
        digest = digest_value(determinants | {"data": data.id})
        return workspace.runs / kind / f"{name}-{digest}.parquet"

    return Network(
        stream=stream,
        head=head,
        key=key,
        folder=workspace.runs / "train" / f"{name}-{key}",
        scores=scores_file("evaluate", model=key, sweep=asdict(configured_sweep(config))),
        held_out_scores=scores_file(
            "held_out",
            training=key,
            num_folds=HELD_OUT_FOLDS,
            num_segments=held_out_segments(config),
        ),
    )
