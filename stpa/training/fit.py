"""Fit one stream's network: alone, or as one of several data-parallel processes."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import BatchSampler, Sampler

from stpa.data.clips import Clips
from stpa.data.loader import ClipLoader
from stpa.data.step_sampler import StepSampler
from stpa.errors import InterruptedTrainingError, ModelError
from stpa.files import digest_value
from stpa.models.network import ActionNetwork
from stpa.training.agreement import Agreement, Wish
from stpa.training.checkpoint import Progress, Trained, read_checkpoint, write_checkpoint
from stpa.training.epoch_metrics import EpochMetrics, summarise
from stpa.training.guard import LossGuard
from stpa.training.job import TrainingJob
from stpa.training.job_clips import fixed_clips, on_device, train_clips
from stpa.training.loop import Batch, is_out_of_memory, train_step
from stpa.training.memory import choose_clips_at_once
from stpa.training.optim import (
    build_optimizer,
    build_schedule,
    freeze,
    hold_frozen,
)
from stpa.training.validation import validate

Weights = Mapping[str, torch.Tensor]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Which of the data-parallel processes this is, and what it computes on."""

    rank: int = 0
    world_size: int = 1
    device: str = "cpu"
    loader_processes: int = 0
    """0: decode in this process, where nothing can end a decoder that hangs."""
    decode_seconds: float = 60.0
    """What one clip's decoding may take in a loader process."""
    checkpoint_steps: int | None = None
    """Steps from one checkpoint to the next, counted over all epochs, each of which also ends with
    one; None: that alone."""
    memory_share: float = 1.0
    """What this process may take of the memory that is free on its host or GPU as it starts."""


@runtime_checkable
class Host(Protocol):
    """Runs a fit: it hears how far that is, keeps its checkpoints, and may ask it to stop."""

    def after_step(self, done: int, total: int, means: Mapping[str, float]) -> Wish:
        """Take note of each step, counted over all epochs; every process does.

        `means` are those of this process over the epoch so far (`LossGuard.means`).
        """
        ...

    def keep(
        self, metrics: dict[str, float] | None, write_checkpoint: Callable[[Path], None]
    ) -> None:
        """Hear the metrics of an epoch that has ended, or None amid one; every process does.

        `write_checkpoint` writes into an empty folder; call it in the process of rank 0.
        """
        ...


def fit(job: TrainingJob, place: Place, host: Host, resume_from: Path | None = None) -> None:
    """Train for the job's epochs, going on from the checkpoint `resume_from` if there is one.

    What a step draws depends on the seed, the epoch, the step and the rank alone, so a run resumed
    after any step equals an undisturbed one; if it takes another number of clips at once, then but
    for rounding and dropout. With `world_size` above 1, the default process group must be up.
    Raises InterruptedTrainingError when the host asks to stop.
    """
    head = _warm_head(job, place, host) if job.starts_warm and resume_from is None else None
    run = _Fit(job, place, host, head)
    if resume_from is not None:
        run.progress = read_checkpoint(resume_from, run.trained)
    run.train()


class LastCheckpoint:
    """Hosts a training of seconds, which starts again where it is lost: keeps what it ends with."""

    def __init__(self, job: TrainingJob, folder: Path) -> None:
        """Take the folder, which exists and is empty, that the last checkpoint is written into."""
        self._num_epochs, self._folder = job.num_epochs, folder

    def after_step(self, done: int, total: int, means: Mapping[str, float]) -> Wish:
        """Go on."""
        return Wish.GO_ON

    def keep(
        self, metrics: dict[str, float] | None, write_checkpoint: Callable[[Path], None]
    ) -> None:
        """Write the checkpoint of the last epoch."""
        if metrics is not None and metrics["epoch"] == self._num_epochs:
            write_checkpoint(self._folder)


class _Ahead:
    """Hosts the training of a head ahead of its network's, of which no step is done yet."""

    def __init__(self, host: Host, total: int) -> None:
        """Take the network's host, and all its steps."""
        self._host, self._total = host, total

    def after_step(self, done: int, total: int, means: Mapping[str, float]) -> Wish:
        return self._host.after_step(0, self._total, {})

    def keep(
        self, metrics: dict[str, float] | None, write_checkpoint: Callable[[Path], None]
    ) -> None:
        """Keep nothing: a network whose head was not done starts again with it."""


def _warm_head(job: TrainingJob, place: Place, host: Host) -> Weights:
    """Return what the head learns from the features of the backbone as it starts.

    Every process trains it alone; where they differ, such as in how many clips fit the memory, all
    go on from what rank 0 has learnt, as DDP sends its weights to the others.
    """
    alone = replace(place, rank=0, world_size=1, checkpoint_steps=None, loader_processes=0)
    run = _Fit(job.of_head, alone, _Ahead(host, job.num_epochs * job.steps_per_epoch))
    run.train()
    return run.trained.model.head.state_dict()


class _Fit:
    """A training in one of the processes that share it."""

    def __init__(
        self, job: TrainingJob, place: Place, host: Host, head: Weights | None = None
    ) -> None:
        """Build everything; the network's head starts from the weights `head`, if there are any."""
        self._job, self._place, self._host = job, place, host
        self._device = torch.device(place.device)
        self._clips = train_clips(job)
        self._sampler = StepSampler.of(len(job.videos), job.train, place.rank, place.world_size)
        self._loader = self._load(self._clips, self._sampler)
        self.epochs = job.num_epochs
        self._num_steps = self.epochs * len(self._sampler)
        self.trained = _build(job, self._device, self._num_steps, head)
        share = max(1, self._sampler.share_of(0))  # the first step is the largest
        self.clips_at_once = choose_clips_at_once(
            job, self.trained.network, share, place.memory_share
        )
        self._held_out = self._load_held_out() if job.validation else None
        self.progress = Progress()
        self._network = _parallel(job, self.trained.network, place)
        self._guard = LossGuard(lambda index: str(self._clips.video(index)))
        self._agreement = Agreement(place.world_size)

    def train(self) -> None:
        """Go on to the last epoch. Raises ModelError where memory lacks for a single clip."""
        try:
            while self.progress.epoch < self.epochs:
                self.train_epoch()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            is_least = self.clips_at_once == 1
            advice = "lower train.input_size" if is_least else "set train.clips_at_once below that"
            raise ModelError(
                f"{self._place.device} lacks the memory for {self.clips_at_once} clip(s) of "
                f"{self._job.train.num_segments} frames at once: {advice}, "
                "or set train.frames_at_once"
            ) from error

    def train_epoch(self) -> None:
        """Go on to the end of an epoch, with a checkpoint there, and before where one is due."""
        progress = self.progress
        self._sampler.start_at(progress.epoch, progress.step)
        self._clips.set_epoch(progress.epoch)
        self._network.train()
        hold_frozen(self.trained.network.backbone, self._job.frozen)
        metrics = EpochMetrics(self._device, self._place.rank, progress.totals)
        self._guard.start_epoch()
        for batch in metrics.waiting(self._loader):
            metrics.add(self._train_step(batch), self._sampler.share_of(progress.step))
            progress.step += 1
            done = progress.epoch * len(self._sampler) + progress.step
            wish = self._host.after_step(done, self._num_steps, self._guard.means)
            wish = self._agreement.reach(wish)
            if wish > Wish.GO_ON or self._is_checkpoint_due(done):
                progress.totals = metrics.totals(self._place.world_size)
                self._keep()
            if wish is Wish.LEAVE:
                raise InterruptedTrainingError(
                    f"stopped as asked after step {done} of {self._num_steps}: "
                    "run it again to go on from there"
                )
        # The backbone's, which biases, an adapted stem and new layers multiply.
        rate = min(group["lr"] for group in self.trained.optimizer.param_groups)
        epoch = progress.epoch + 1
        summary = summarise(metrics.totals(self._place.world_size), self._device)
        summary |= {"learning_rate": rate, "epoch": epoch, "clips_at_once": self.clips_at_once}
        if self._held_out is not None:
            summary |= validate(
                self.trained.model,
                self._held_out,
                self._place.world_size,
                self._job.train.frames_at_once,
            )
        self.progress = Progress(epoch, history=[*progress.history, summary])
        self._keep(summary)

    def _train_step(self, batch: Batch) -> dict[str, torch.Tensor]:
        epoch, step = self.progress.epoch, self.progress.step
        sent = on_device(batch, self._job, self._device)
        while (seen := self._try_step(sent)) is None:
            self._halve_clips_at_once()
        self.trained.schedule.step()
        if self.trained.average is not None:
            self.trained.average.update_parameters(self.trained.network)
        name = f"step {step + 1} of epoch {epoch + 1} of {self._job.name}"
        self._guard.watch(seen, batch["index"], name)
        return seen

    def _try_step(self, batch: Batch) -> dict[str, torch.Tensor] | None:
        """Take a step; return None where it is to be taken again, as memory ran out.

        The exception ends here: its traceback refers to what filled the memory.
        """
        epoch, step, rank = self.progress.epoch, self.progress.step, self._place.rank
        torch.manual_seed(_step_seed(self._job.train.seed, epoch, step, rank))
        part = self._sampler.share_of(step) / self._sampler.size_of(step)
        options = self._job.step_options(self.clips_at_once)
        weight = part * self._place.world_size
        try:
            return train_step(self._network, batch, self.trained.optimizer, options, weight)
        except RuntimeError as error:
            # Other workers may have received some of this one's gradients: it cannot repeat alone.
            may_repeat = self._job.may_part_steps and self._place.world_size == 1
            if may_repeat and self.clips_at_once > 1 and is_out_of_memory(error):
                return None
            raise

    def _halve_clips_at_once(self) -> None:
        self.trained.optimizer.zero_grad(set_to_none=True)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()  # in pieces of the sizes that were too large
        self.clips_at_once //= 2
        logger.warning("memory ran out: %d clip(s) at once from here on", self.clips_at_once)

    def _load_held_out(self) -> ClipLoader:
        """Load this process's share of the clips to validate on, as many at once as in training."""
        clips, place = fixed_clips(self._job), self._place
        share = range(place.rank, len(clips), place.world_size)
        return self._load(clips, BatchSampler(share, self.clips_at_once, drop_last=False))

    def _load(self, clips: Clips, batches: Sampler[list[int]]) -> ClipLoader:
        return ClipLoader(
            clips,
            batches=batches,
            num_processes=self._place.loader_processes,
            decode_seconds=self._place.decode_seconds,
            pin_memory=self._device.type == "cuda",
        )

    def _is_checkpoint_due(self, done: int) -> bool:
        """Tell whether one is due amid an epoch, after so many steps of all."""
        every = self._place.checkpoint_steps
        ends_epoch = done % len(self._sampler) == 0
        return every is not None and done % every == 0 and not ends_epoch

    def _keep(self, summary: dict[str, float] | None = None) -> None:
        self._guard.settle()
        self._host.keep(
            summary, lambda folder: write_checkpoint(folder, self.trained, self.progress)
        )


def _build(job: TrainingJob, device: torch.device, num_steps: int, head: Weights | None) -> Trained:
    """Build what learns, the same in every process."""
    config = job.train.stream(job.stream)
    torch.manual_seed(job.train.seed)
    network = ActionNetwork(job.spec, job.model.pretrained)
    if head is not None:
        network.head.load_state_dict(head)
    network.to(device)
    freeze(network.backbone, job.frozen)
    optimizer = build_optimizer(
        network,
        job.train.optimizer,
        learning_rate=config.learning_rate,
        new_layer_rate=job.new_layer_rate,
        pretrained=job.model.pretrained is not False,
        momentum=job.train.momentum,
        weight_decay=job.train.weight_decay,
        rates=job.train.rates,
    )
    schedule = build_schedule(
        optimizer, job.train.schedule, num_steps, config.milestones, job.train.warm_up
    )
    decay = job.train.average_decay
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay)) if decay else None
    return Trained(network, optimizer, schedule, average)


def _parallel(job: TrainingJob, network: ActionNetwork, place: Place) -> nn.Module:
    """Return the network to train, which shares gradients with the other processes'."""
    parallel = DistributedDataParallel(network) if place.world_size > 1 else network
    if job.train.compile:
        parallel.compile()
    return parallel


def _step_seed(seed: int, epoch: int, step: int, rank: int) -> int:
    return int(digest_value([seed, epoch, step, rank]), 16)
