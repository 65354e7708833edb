"""Training checkpoints: a model folder plus what the optimiser and the schedule remember.

Nothing is pickled: tensors are safetensors, the rest is JSON. No state of a random generator is
in it, since each step draws from (seed, epoch, step, rank) alone; nor a loss scaler's, as bfloat16
has the range of float32.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from stpa.models.checkpoint import WEIGHTS_FILE, write_model
from stpa.models.network import ActionNetwork
from stpa.training.epoch_metrics import Total

OPTIMIZER_FILE = "optimizer.safetensors"
TRAINED_FILE = "trained_weights.safetensors"
"""What the optimiser moves, where the model folder has its average."""
PROGRESS_FILE = "progress.json"


@dataclass
class Progress:
    """How far a training is."""

    epoch: int = 0
    """Epochs that have ended."""
    step: int = 0
    """Steps of the next one that have."""
    totals: Mapping[str, Total] = field(default_factory=dict)
    """Of those steps: `EpochMetrics.totals`."""
    history: list[dict[str, float]] = field(default_factory=list)
    """The metrics of each epoch that has ended."""


@dataclass
class Trained:
    """What learns."""

    network: ActionNetwork
    optimizer: torch.optim.Optimizer
    schedule: LRScheduler
    average: AveragedModel | None
    """Of the network's weights over the steps."""

    @property
    def model(self) -> ActionNetwork:
        """What the training makes: the average, if there is one."""
        return self.network if self.average is None else cast("ActionNetwork", self.average.module)


def write_checkpoint(folder: Path, trained: Trained, progress: Progress) -> None:
    """Write everything that the next step depends on into an existing, empty folder."""
    write_model(folder, trained.model)
    if trained.average is not None:
        save_file(_contiguous(trained.network.state_dict()), folder / TRAINED_FILE)
    memory = trained.optimizer.state_dict()["state"]
    tensors = {
        f"{parameter}.{name}": value
        for parameter, values in memory.items()
        for name, value in values.items()
        if value is not None
    }
    save_file(_contiguous(tensors), folder / OPTIMIZER_FILE)
    values = asdict(progress) | {
        "schedule_step": trained.schedule.last_epoch,
        "learning_rates": [group["lr"] for group in trained.optimizer.param_groups],
    }
    (folder / PROGRESS_FILE).write_text(json.dumps(values), encoding="utf-8")


def read_checkpoint(folder: Path, trained: Trained) -> Progress:
    """Restore what `write_checkpoint` wrote."""
    values = json.loads((folder / PROGRESS_FILE).read_text(encoding="utf-8"))
    weights = load_file(folder / WEIGHTS_FILE)
    if trained.average is not None:
        trained.model.load_state_dict(weights)
        trained.average.n_averaged.fill_(values["schedule_step"])
        weights = load_file(folder / TRAINED_FILE)
    trained.network.load_state_dict(weights)
    memory: dict[int, dict[str, Any]] = {}
    for key, value in load_file(folder / OPTIMIZER_FILE).items():
        parameter, name = key.split(".", 1)
        memory.setdefault(int(parameter), {})[name] = value
    trained.optimizer.load_state_dict({**trained.optimizer.state_dict(), "state": memory})
    for parameter, state in trained.optimizer.state.items():
        for name, value in state.items():
            if value.shape == parameter.shape:  # laid out as it, which may be channels_last
                state[name] = torch.empty_like(parameter).copy_(value)
    trained.schedule.last_epoch = values.pop("schedule_step")
    for group, rate in zip(
        trained.optimizer.param_groups, values.pop("learning_rates"), strict=True
    ):
        group["lr"] = rate
    return Progress(**values)


def _contiguous(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Lay tensors out as safetensors stores them; those of channels_last weights are not so."""
    return {name: value.contiguous() for name, value in tensors.items()}
