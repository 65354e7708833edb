"""Fit one stream's network: alone, or as one of several data-parallel processes."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DistributedSampler

from stpa.config import ModelConfig, Stream, TrainConfig
from stpa.data.batch_transforms import crop_clips
from stpa.data.clips import ClipReader, TrainClips
from stpa.data.loader import ClipLoader
from stpa.data.manifest import Video
from stpa.data.storage import Storage
from stpa.files import digest_value
from stpa.models.backbones import published_normalisation
from stpa.models.network import ActionNetwork, NetworkSpec
from stpa.training.checkpoint import read_checkpoint, write_checkpoint
from stpa.training.loop import Batch, LossOptions, train_epoch
from stpa.training.optim import (
    build_optimizer,
    build_schedule,
    freeze_batch_norm,
    hold_frozen_batch_norm,
)


@dataclass(frozen=True)
class TrainingJob:
    """Everything that decides the trained weights, and where the clips are."""

    stream: Stream
    head: str
    model: ModelConfig
    train: TrainConfig
    class_names: tuple[str, ...]
    multi_label: bool
    """As `Manifest.multi_label`."""
    videos: tuple[Video, ...]
    storage: Storage
    """Holds the stream's files: the videos, or the stored optical flow."""

    @property
    def spec(self) -> NetworkSpec:
        """The network to train."""
        mean, std = published_normalisation(self.model.backbone)
        return NetworkSpec(
            stream=self.stream.value,
            head=self.head,
            backbone=self.model.backbone,
            backbone_options=self.model.backbone_options,
            top_layer=self.model.top_layer,
            num_scales=self.model.num_scales,
            fusion=self.model.fusion,
            downsampling=self.model.downsampling,
            map_norm=self.model.map_norm,
            dropout=self.train.stream(self.stream).dropout,
            class_names=self.class_names,
            multi_label=self.multi_label,
            input_size=self.train.input_size,
            short_side=self.train.short_side,
            input_mean=tuple(self.model.input_mean or mean),
            input_std=tuple(self.model.input_std or std),
        )


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


EpochDone = Callable[[dict[str, float], Callable[[Path], None]], None]
"""Called by every process after each epoch with rank 0's metrics, and a function that writes a
checkpoint into an empty folder."""


def fit(
    job: TrainingJob, place: Place, *, on_epoch: EpochDone, resume_from: Path | None = None
) -> None:
    """Train for the job's epochs, going on from the checkpoint `resume_from` if there is one.

    The clips and the dropout of an epoch depend on the seed, the epoch and the rank alone, so a
    run resumed after any epoch equals an undisturbed one. With `world_size` above 1, the default
    process group must be up.
    """
    config = job.train.stream(job.stream)
    torch.manual_seed(job.train.seed)
    network = ActionNetwork(job.spec, job.model.pretrained).to(place.device)
    freeze_batch_norm(network.backbone, job.train.freeze_batch_norm)
    optimizer = build_optimizer(
        network,
        job.train.optimizer,
        learning_rate=config.learning_rate,
        new_layer_rate=config.new_layer_rate,
        momentum=job.train.momentum,
        weight_decay=job.train.weight_decay,
        rates=job.train.rates,
    )
    loader, sampler, clips = _clips(job, place)
    schedule = build_schedule(
        optimizer, job.train.schedule, config.epochs * len(loader), config.milestones
    )
    history: list[dict[str, float]] = []
    if resume_from is not None:
        history = read_checkpoint(resume_from, network, optimizer, schedule)
    parallel = DistributedDataParallel(network) if place.world_size > 1 else network

    for epoch in range(len(history), config.epochs):
        torch.manual_seed(_epoch_seed(job.train.seed, epoch, place.rank))
        sampler.set_epoch(epoch)
        clips.set_epoch(epoch)
        parallel.train()
        hold_frozen_batch_norm(network.backbone, job.train.freeze_batch_norm)
        metrics = train_epoch(
            parallel,
            _crop_on_device(job, loader, place.device) if job.train.crop_on_device else loader,
            optimizer,
            schedule,
            losses=LossOptions(
                job.train.interactive_loss,
                job.train.interactive_weight,
                job.train.attention_loss,
                job.train.attention_weight,
                job.multi_label,
            ),
            gradient_clip=config.gradient_clip,
            frames_at_once=job.train.frames_at_once,
            device=torch.device(place.device),
        )
        metrics = _mean_over_processes(metrics, place) | {"epoch": epoch + 1}
        history.append(metrics)
        on_epoch(
            metrics,
            lambda folder: write_checkpoint(folder, network, optimizer, schedule, history),
        )


def _clips(job: TrainingJob, place: Place) -> tuple[ClipLoader, DistributedSampler, TrainClips]:
    clips = TrainClips(
        job.videos,
        job.class_names,
        ClipReader(job.stream.value, job.storage, job.train.short_side),
        num_segments=job.train.num_segments,
        input_size=job.train.input_size,
        scales=job.train.stream(job.stream).scale_jitter,
        horizontal_flip=job.train.horizontal_flip,
        seed=job.train.seed,
        crop_later=job.train.crop_on_device,
    )
    sampler = DistributedSampler(
        clips, place.world_size, place.rank, shuffle=True, seed=job.train.seed
    )
    loader = ClipLoader(
        clips,
        batch_size=job.train.batch_size // place.world_size,
        sampler=sampler,
        num_processes=place.loader_processes,
        decode_seconds=place.decode_seconds,
        pin_memory=place.device.startswith("cuda"),
    )
    return loader, sampler, clips


def _crop_on_device(job: TrainingJob, batches: Iterable[Batch], device: str) -> Iterator[Batch]:
    """Yield the batches with the crops that the loader has drawn."""
    for batch in batches:
        frames, boxes, mirrored = (
            batch[name].to(device, non_blocking=True) for name in ("frames", "box", "mirrored")
        )
        is_flow = job.stream is Stream.FLOW
        cropped = crop_clips(frames, boxes, mirrored, job.train.input_size, is_flow=is_flow)
        yield {**batch, "frames": cropped}


def _epoch_seed(seed: int, epoch: int, rank: int) -> int:
    return int(digest_value([seed, epoch, rank]), 16)


def _mean_over_processes(metrics: dict[str, float], place: Place) -> dict[str, float]:
    if place.world_size == 1:
        return metrics
    values = torch.tensor(list(metrics.values()), device=place.device)
    distributed.all_reduce(values)
    means = dict(zip(metrics, (values / place.world_size).tolist(), strict=True))
    return means | {"clips_per_second": means["clips_per_second"] * place.world_size}
