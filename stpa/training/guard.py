"""Stops a training whose metrics have gone wrong, and names the videos that it was at."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch

from stpa.errors import ModelError

LARGEST = 1e6
"""A loss beyond it, of either sign, has exploded: no sound one is near it, and l_interactive
(eq. 6) has no lower bound. The gradient is clipped: its norm need only be a number."""


MEANS = ("loss", "top1")
"""What a person follows a training by."""
_WATCHED = ("gradient_norm", *MEANS)
"""What comes from the device in one copy per step."""


class _Step(NamedTuple):
    values: torch.Tensor
    """Those of `_WATCHED`."""
    arrived: torch.cuda.Event | None
    videos: Sequence[int]
    name: str


class LossGuard:
    """Looks at the loss and the gradient's norm of each step one step later.

    By then they have come from the device anyway: to look at once would let a GPU run dry. The
    means that are shown while an epoch runs are kept here, as they need the same copy.
    """

    def __init__(self, name_of: Callable[[int], str]) -> None:
        """`name_of` names the video of an item's index."""
        self._name_of = name_of
        self._last: _Step | None = None
        self.start_epoch()

    def start_epoch(self) -> None:
        """Start the means again."""
        self._num_clips, self._sums = 0, dict.fromkeys(MEANS, 0.0)

    @property
    def means(self) -> dict[str, float]:
        """Means of `MEANS` over this process's clips of the epoch, but for its last step.

        Empty after the first one.
        """
        if not self._num_clips:
            return {}
        return {name: total / self._num_clips for name, total in self._sums.items()}

    def watch(self, seen: Mapping[str, torch.Tensor], videos: torch.Tensor, step: str) -> None:
        """Take a step's metrics, and look at those of the step before. Raises ModelError."""
        self.settle()
        values = torch.stack([seen[name].detach().float() for name in _WATCHED])
        arrived = None
        if values.is_cuda:
            host = torch.empty(len(_WATCHED), pin_memory=True)
            values = host.copy_(values, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record()
        self._last = _Step(values, arrived, videos.tolist(), step)

    def settle(self) -> None:
        """Look at the last step taken, which a checkpoint must not outlive. Raises ModelError."""
        if self._last is None:
            return
        (values, arrived, videos, step), self._last = self._last, None
        if arrived is not None:
            arrived.synchronize()
        seen = dict(zip(_WATCHED, values.tolist(), strict=True))
        loss, norm = seen["loss"], seen["gradient_norm"]
        if abs(loss) <= LARGEST and math.isfinite(norm):
            self._num_clips += len(videos)
            for name in MEANS:
                self._sums[name] += seen[name] * len(videos)
            return
        names = ", ".join(self._name_of(index) for index in videos)
        is_sound = abs(loss) <= LARGEST  # the gradient is that of all workers
        others = " or of another worker's share" if is_sound else ""
        raise ModelError(
            f"the loss is {loss:g} and the gradient's norm {norm:g} at {step}, of the videos "
            f"{names}{others}: lower the stream's learning_rate or the weights of the head's own "
            "losses, or see that these videos are sound"
        )
