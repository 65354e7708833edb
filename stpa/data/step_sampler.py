"""Which clips each optimiser step takes, and which of them each process."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from stpa.config import TrainConfig
from stpa.files import digest_value


class StepSampler(Sampler[list[int]]):
    """Deals the clips of each step out to the processes that train together.

    An epoch passes over all clips once, or as often as it takes to make `min_steps`. A pass takes
    every clip once, in an order drawn from (seed, epoch, pass) alone, `batch_size` of them per
    step, and in its last step what is left. The number of processes changes nothing of a step, so
    a run may go on from any step with more of them, or fewer. A process that is left without a
    clip is given one that does not count.

    Yields places: a clip's index, plus `num_clips` for each pass before. So a dataset can draw
    another crop of the same video in each pass.
    """

    def __init__(
        self,
        num_clips: int,
        batch_size: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        seed: int,
        min_steps: int = 1,
    ) -> None:
        self._num_clips = num_clips
        self._batch_size = batch_size
        self._rank = rank
        self._world_size = world_size
        self._seed = seed
        self._steps_per_pass = -(-num_clips // batch_size)
        self._num_passes = -(-min_steps // self._steps_per_pass)
        self._epoch = self._first_step = 0

    @classmethod
    def of(
        cls, num_clips: int, train: TrainConfig, rank: int = 0, world_size: int = 1
    ) -> "StepSampler":
        """Make the steps that params.yaml asks for, for one of the processes."""
        return cls(
            num_clips,
            train.batch_size,
            rank=rank,
            world_size=world_size,
            seed=train.seed,
            min_steps=train.min_steps_per_epoch,
        )

    def start_at(self, epoch: int, step: int = 0) -> None:
        """Go on from a step of an epoch, both counted from 0, when iterated next."""
        self._epoch, self._first_step = epoch, step

    def __len__(self) -> int:
        """Return the number of steps in a whole epoch."""
        return self._num_passes * self._steps_per_pass

    @property
    def mean_size(self) -> float:
        """The mean of `size_of` over all steps."""
        return self._num_clips / self._steps_per_pass

    def size_of(self, step: int) -> int:
        """Return how many clips all processes take together in a step."""
        done = step % self._steps_per_pass * self._batch_size
        return min(self._batch_size, self._num_clips - done)

    def share_of(self, step: int) -> int:
        """Return how many of them are this process's."""
        return len(range(self._rank, self.size_of(step), self._world_size))

    def __iter__(self) -> Iterator[list[int]]:
        """Yield this process's places of each step that is left of the epoch."""
        first_pass, first_step = divmod(self._first_step, self._steps_per_pass)
        for number in range(first_pass, self._num_passes):
            order = self._order(number)
            for step in range(first_step, self._steps_per_pass):
                taken = order[step * self._batch_size :][: self._batch_size]
                yield taken[self._rank :: self._world_size] or taken[:1]
            first_step = 0

    def _order(self, number: int) -> list[int]:
        drawn_from = int(digest_value([self._seed, self._epoch, number]), 16)
        order = torch.randperm(self._num_clips, generator=torch.Generator().manual_seed(drawn_from))
        return (order + number * self._num_clips).tolist()
