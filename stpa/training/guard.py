"""Stops a training whose numbers have gone wrong, and names the videos it was at."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from stpa.errors import ModelError

LARGEST = 1e6
"""A loss beyond it, of either sign, has exploded: no sound one is near it, and l_interactive
(eq. 6) has no lower bound. The gradient is clipped: its norm need only be a number."""


class _Step(NamedTuple):
    values: torch.Tensor
    """The loss and the gradient's norm."""
    arrived: torch.cuda.Event | None
    videos: Sequence[int]
    name: str


class LossGuard:
    """Looks at the loss and the gradient's norm of each step one step later.

    By then they have come from the device anyway: to look at once would let a GPU run dry.
    """

    def __init__(self, name_of: Callable[[int], str]) -> None:
        """`name_of` names the video of an item's index."""
        self._name_of = name_of
        self._last: _Step | None = None

    def watch(
        self, loss: torch.Tensor, gradient_norm: torch.Tensor, videos: torch.Tensor, step: str
    ) -> None:
        """Take a step's numbers, and look at those of the step before. Raises ModelError."""
        self.settle()
        values, arrived = torch.stack([loss.detach(), gradient_norm.detach()]), None
        if values.is_cuda:
            host = torch.empty(2, pin_memory=True)
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
        loss, norm = values.tolist()
        if abs(loss) <= LARGEST and math.isfinite(norm):
            return
        names = ", ".join(self._name_of(index) for index in videos)
        is_sound = abs(loss) <= LARGEST  # the gradient is that of all workers
        others = " or of another worker's share" if is_sound else ""
        raise ModelError(
            f"the loss is {loss:g} and the gradient's norm {norm:g} at {step}, of the videos "
            f"{names}{others}: lower the stream's learning_rate or train.interactive_weight, or "
            "see that these videos are sound"
        )
