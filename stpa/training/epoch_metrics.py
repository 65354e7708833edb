"""What is told of an epoch: means over its clips, speed, waiting, and the machine's load."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import psutil
import torch
from torch import distributed

from stpa.training.loop import ANSWERS

Item = TypeVar("Item")

Total = float | list[float]
"""A sum over clips; a list has one per class."""

_CLIPS, _SECONDS, _WAITED = _COUNTS = ("clips", "seconds", "waited")
"""Sums beside those of what is measured, which is weighted by clips."""
TINY = 1e-12
"""In the place of a loss that has come to 0."""


class EpochMetrics:
    """Sums up the steps of an epoch, on the device, which is asked for them at its end alone."""

    def __init__(self, device: torch.device, rank: int, sums: Mapping[str, Total]) -> None:
        """Begin with the `totals` of steps before, if any. Rank 0 counts these and the time."""
        self._device = device
        self._counts_time = rank == 0
        self._sums: dict[str, torch.Tensor] = {}
        for name, total in sums.items():
            value = torch.tensor(total, dtype=torch.float64, device=device)
            self._add(name, value if rank == 0 else torch.zeros_like(value))
        self._since = time.perf_counter()
        psutil.cpu_percent()  # measures from the call before

    def add(self, means: Mapping[str, torch.Tensor], num_clips: int) -> None:
        """Count a step by its means over this process's clips."""
        for name, value in means.items():
            self._add(name, value.detach().double() * num_clips)
        self._add_scalar(_CLIPS, float(num_clips))

    def waiting(self, batches: Iterable[Item]) -> Iterator[Item]:
        """Yield the batches, and count the time that is waited for each."""
        waiting_since = time.perf_counter()
        for batch in batches:
            self._add_time(_WAITED, time.perf_counter() - waiting_since)
            yield batch
            waiting_since = time.perf_counter()

    def totals(self, world_size: int) -> dict[str, Total]:
        """Return the sums over all processes, each of which must call it."""
        now = time.perf_counter()
        self._add_time(_SECONDS, now - self._since)
        self._since = now
        names = sorted(self._sums)
        sums = torch.cat([self._sums[name].flatten() for name in names])  # one message for all
        if world_size > 1:
            distributed.all_reduce(sums)
        parts = sums.split([self._sums[name].numel() for name in names])
        return {
            name: part.view_as(self._sums[name]).tolist()
            for name, part in zip(names, parts, strict=True)
        }

    def _add_time(self, name: str, seconds: float) -> None:
        self._add_scalar(name, seconds if self._counts_time else 0.0)

    def _add_scalar(self, name: str, value: float) -> None:
        self._add(name, torch.tensor(value, dtype=torch.float64, device=self._device))

    def _add(self, name: str, value: torch.Tensor) -> None:
        self._sums[name] = self._sums[name] + value if name in self._sums else value


def summarise(totals: Mapping[str, Total], device: torch.device) -> dict[str, float]:
    """Turn the totals of an epoch into what is logged.

    Names that begin with system/ are those that MLflow shows on a page of their own. They tell of
    the machine of the process that calls, since its `EpochMetrics` was made.
    """
    scalars = {name: total for name, total in totals.items() if isinstance(total, float)}
    clips, seconds, waited = (scalars[name] for name in _COUNTS)
    means = {name: total / clips for name, total in scalars.items() if name not in _COUNTS}
    answers = totals[ANSWERS]
    assert isinstance(answers, list), "one per class"
    metrics = means | {
        "largest_answer_share": max(answers) / clips,
        "head_terms_over_classification": (
            (means["loss"] - means["classification"]) / max(means["classification"], TINY)
        ),
        "videos_per_second": clips / seconds,
        "share_waiting_for_data": waited / seconds,
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/system_memory_usage_percentage": psutil.virtual_memory().percent,
    }
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        metrics["gpu_memory_peak_mib"] = peak / 2**20
        metrics["system/gpu_memory_usage_percentage"] = (
            100 * peak / torch.cuda.get_device_properties(device).total_memory
        )
    return metrics
