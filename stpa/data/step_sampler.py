"""Which clips each optimiser step takes, and which of them each process."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from stpa.files import digest_value


class StepSampler(Sampler[list[int]]):
    """Deals the clips of each step out to the processes that train together.

    An epoch takes every clip once, in an order drawn from (seed, epoch) alone, `batch_size` of
    them a step, and in the last one what is left. How many processes share a step changes nothing
    of it, so a run may go on from any step with more of them, or fewer. One that is left without a
    clip is given one that does not count.
    """

    def __init__(
        self, num_clips: int, batch_size: int, *, rank: int = 0, world_size: int = 1, seed: int
    ) -> None:
        self._num_clips = num_clips
        self._batch_size = batch_size
        self._rank = rank
        self._world_size = world_size
        self._seed = seed
        self._epoch = self._first_step = 0

    def start_at(self, epoch: int, step: int = 0) -> None:
        """Go on from a step of an epoch, both counted from 0, when iterated next."""
        self._epoch, self._first_step = epoch, step

    def __len__(self) -> int:
        """Return the steps of a whole epoch."""
        return -(-self._num_clips // self._batch_size)

    def size_of(self, step: int) -> int:
        """Return how many clips all processes take together in a step."""
        return min(self._batch_size, self._num_clips - step * self._batch_size)

    def share_of(self, step: int) -> int:
        """Return how many of them are this process's."""
        return len(range(self._rank, self.size_of(step), self._world_size))

    def __iter__(self) -> Iterator[list[int]]:
        """Yield this process's clips of each step that is left of the epoch."""
        drawn_from = int(digest_value([self._seed, self._epoch]), 16)
        order = torch.randperm(
            self._num_clips, generator=torch.Generator().manual_seed(drawn_from)
        ).tolist()
        for step in range(self._first_step, len(self)):
            taken = order[step * self._batch_size :][: self._batch_size]
            yield taken[self._rank :: self._world_size] or taken[:1]
