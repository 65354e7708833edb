"""The clips of a training, and their way to the device."""

import torch

from stpa.config import Stream
from stpa.data.batch_transforms import crop_clips
from stpa.data.clips import ClipReader, FixedClips, TrainClips
from stpa.training.job import TrainingJob
from stpa.training.loop import Batch


def train_clips(job: TrainingJob) -> TrainClips:
    """Return the clips to learn from, drawn at random from each video."""
    return TrainClips(
        job.videos,
        job.class_names,
        _reader(job),
        num_segments=job.train.num_segments,
        input_size=job.train.input_size,
        scales=job.train.stream(job.stream).scale_jitter,
        horizontal_flip=job.train.horizontal_flip,
        seed=job.train.seed,
        crop_later=job.train.crop_on_device,
    )


def fixed_clips(job: TrainingJob) -> FixedClips:
    """Return the clips to validate on."""
    return FixedClips(
        job.validation,
        job.class_names,
        _reader(job),
        num_segments=job.train.num_segments,
        input_size=job.train.input_size,
    )


def on_device(batch: Batch, job: TrainingJob, device: torch.device) -> Batch:
    """Send a batch to the device, and crop it there where that is left to it."""
    sent = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
    if job.train.crop_on_device:
        sent["frames"] = crop_clips(
            sent["frames"],
            sent["box"],
            sent["mirrored"],
            job.train.input_size,
            is_flow=job.stream is Stream.FLOW,
        )
    return sent


def _reader(job: TrainingJob) -> ClipReader:
    return ClipReader(job.stream.value, job.storage, job.train.short_side)
