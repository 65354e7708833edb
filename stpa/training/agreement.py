"""A wish of one process that all must follow at the same step."""

from enum import IntEnum
from typing import cast

import torch
from torch import distributed
from torch.distributed import ProcessGroup


class Wish(IntEnum):
    """What a training's host may want after a step; the strongest wish counts."""

    GO_ON = 0
    CHECKPOINT = 1
    """Write a checkpoint now, as this may end at any moment."""
    LEAVE = 2
    """Write one, and end."""


class Agreement:
    """Tells all processes, one step later, what any of them wished.

    Nobody waits for it: each step's messages travel while the next one is computed.
    """

    def __init__(self, world_size: int) -> None:
        """With more processes than one, the default process group must be up."""
        self._alone = world_size == 1
        self._group = None if self._alone else distributed.new_group(backend="gloo")
        self._sent: tuple[distributed.Work, torch.Tensor] | None = None

    def reach(self, wish: Wish) -> Wish:
        """Say what this process wishes, and hear what all do now.

        Every process must call it as often as the others.
        """
        if self._alone:
            return wish
        agreed = Wish.GO_ON
        if self._sent is not None:
            message, flag = self._sent
            message.wait()
            agreed = Wish(flag.item())
        flag = torch.tensor(wish.value)
        message = distributed.all_reduce(
            flag, distributed.ReduceOp.MAX, group=cast("ProcessGroup", self._group), async_op=True
        )
        self._sent = message, flag
        return agreed
