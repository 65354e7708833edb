"""Training checkpoints: a model folder plus what the optimiser and the schedule remember.

Nothing is pickled: tensors are safetensors, the rest is JSON.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.optim.lr_scheduler import LRScheduler

from stpa.models.checkpoint import WEIGHTS_FILE, write_model
from stpa.models.network import ActionNetwork

OPTIMIZER_FILE = "optimizer.safetensors"
PROGRESS_FILE = "progress.json"


def write_checkpoint(
    folder: Path,
    network: ActionNetwork,
    optimizer: torch.optim.Optimizer,
    schedule: LRScheduler,
    history: list[dict[str, float]],
) -> None:
    """Write everything that the next epoch depends on into an existing, empty folder."""
    write_model(folder, network)
    memory = optimizer.state_dict()["state"]
    tensors = {
        f"{parameter}.{name}": value
        for parameter, values in memory.items()
        for name, value in values.items()
        if value is not None
    }
    save_file(tensors, folder / OPTIMIZER_FILE)
    progress = {
        "schedule_step": schedule.last_epoch,
        "learning_rates": [group["lr"] for group in optimizer.param_groups],
        "history": history,
    }
    (folder / PROGRESS_FILE).write_text(json.dumps(progress), encoding="utf-8")


def read_checkpoint(
    folder: Path,
    network: ActionNetwork,
    optimizer: torch.optim.Optimizer,
    schedule: LRScheduler,
) -> list[dict[str, float]]:
    """Restore what `write_checkpoint` wrote; return the history, one entry a finished epoch."""
    network.load_state_dict(load_file(folder / WEIGHTS_FILE))
    memory: dict[int, dict[str, Any]] = {}
    for key, value in load_file(folder / OPTIMIZER_FILE).items():
        parameter, name = key.split(".", 1)
        memory.setdefault(int(parameter), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": memory})
    progress = json.loads((folder / PROGRESS_FILE).read_text(encoding="utf-8"))
    schedule.last_epoch = progress["schedule_step"]
    for group, rate in zip(optimizer.param_groups, progress["learning_rates"], strict=True):
        group["lr"] = rate
    return progress["history"]
