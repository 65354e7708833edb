"""What a person is told of a training: details while it runs, and a line per epoch."""

import logging
import time
from collections.abc import Mapping

from stpa.progress import Pace, ReportProgress, format_duration
from stpa.training.job import TrainingJob

_ACCURACIES = {
    "validation/top1": "held-out accuracy",
    "validation/map": "held-out mAP",
    "top1": "training accuracy",
}
"""What metrics of an epoch are called, the most telling one first."""

logger = logging.getLogger(__name__)


class TrainingProgress:
    """Reports how far one training is."""

    def __init__(self, job: TrainingJob, report: ReportProgress) -> None:
        self._name = job.name
        self._num_epochs, self._steps_per_epoch = job.num_epochs, job.steps_per_epoch
        self._clips_per_step = job.clips_per_step
        self._report = report
        self._pace = Pace()
        """In steps."""
        self._means: Mapping[str, float] = {}

    def on_step(self, done: int, total: int, means: Mapping[str, float]) -> None:
        """Report the details; `means` are empty after the first step of an epoch.

        `done` is 0 while the head is trained ahead of the network.
        """
        self._pace.add(time.monotonic(), done)
        self._means = means or self._means
        if done == 0:
            self._report(0, total, {"epoch": "the head first"})
            return
        epoch, step = divmod(done - 1, self._steps_per_epoch)
        details = {
            "epoch": f"{epoch + 1}/{self._num_epochs}",
            "step": f"{step + 1}/{self._steps_per_epoch}",
        }
        if self._means:
            details["loss"] = f"{self._means['loss']:.3f}"
            details[_ACCURACIES["top1"]] = f"{self._means['top1']:.2f}"
        if self._pace.per_second:
            details["clips/s"] = f"{self._pace.per_second * self._clips_per_step:.1f}"
        if (left := self._pace.seconds_for(total - done)) is not None:
            details["time left"] = format_duration(left)
        self._report(done, total, details)

    def on_epoch(self, metrics: Mapping[str, float]) -> None:
        """Log the line of an epoch that has ended."""
        line = describe_epoch(self._name, metrics, self._num_epochs)
        num_left = self._num_epochs - int(metrics["epoch"])
        left = self._pace.seconds_for(num_left * self._steps_per_epoch)
        if num_left and left is not None:
            line += f", {format_duration(left)} left"
        logger.info("%s", line)


def describe_epoch(name: str, metrics: Mapping[str, float], num_epochs: int) -> str:
    """Return the line of an epoch of the training `name`."""
    metric = next(each for each in _ACCURACIES if each in metrics)
    attends = ""
    if "attention_positions" in metrics:
        attends = f", {metrics['attention_positions']:.0f} positions attended to"
    return (
        f"{name}: epoch {metrics['epoch']:.0f} of {num_epochs}: loss {metrics['loss']:.3f}, "
        f"{_ACCURACIES[metric]} {metrics[metric]:.2f}, {metrics['videos_per_second']:.1f} clips/s"
        f"{attends}"
    )
