"""The clips of a training, and their way to the device."""

import torch

from stpa.data.batch_transforms import crop_clips
from stpa.data.clips import ClipReader, ClipSource, FixedClips, TrainClips
from stpa.data.crops import CropSource
from stpa.models.network import ActionNetwork
from stpa.training.job import TrainingJob
from stpa.training.loop import Batch


def train_clips(job: TrainingJob) -> TrainClips:
    """Return the clips to learn from, drawn at random from each video."""
    return TrainClips(
        job.videos,
        job.class_names,
        _source(job),
        num_segments=job.train.num_segments,
        seed=job.train.seed,
    )


def fixed_clips(job: TrainingJob) -> FixedClips:
    """Return the clips to validate on."""
    return FixedClips(
        job.validation, job.class_names, _source(job), num_segments=job.train.num_segments
    )


def on_device(batch: Batch, job: TrainingJob, device: torch.device) -> Batch:
    """Send a batch to the device, and crop it there where that is left to it."""
    sent = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
    if "box" in sent:
        sent["frames"] = crop_clips(
            sent["frames"],
            sent["box"],
            sent["mirrored"],
            job.train.input_size,
            job.stream,
        )
    return sent


def noise(
    job: TrainingJob, network: ActionNetwork, num_clips: int, num_frames: int
) -> torch.Tensor:
    """Return clips of the shape that the network learns from, on its device, to measure with."""
    if job.learns_from_features:
        size = (num_clips, num_frames, network.num_values)
        return torch.rand(size, device=network.mean.device)
    return noisy_frames(network, num_clips * num_frames).unflatten(0, (num_clips, num_frames))


def noisy_frames(network: ActionNetwork, num_frames: int) -> torch.Tensor:
    """Return frames of noise as the backbone takes them, on its device."""
    spec = network.spec
    size = (num_frames, spec.stream.channels, spec.input_size, spec.input_size)
    return torch.randint(256, size, dtype=torch.uint8, device=network.mean.device)


def _source(job: TrainingJob) -> ClipSource:
    if job.learns_from_features:
        assert job.features is not None, "they are found before the training starts"
        return job.features
    return CropSource(
        ClipReader(job.stream, job.storage, job.train.short_side),
        job.train.input_size,
        tuple(job.train.stream(job.stream).scale_jitter),
        job.train.horizontal_flip,
        crop_later=job.train.crop_on_device,
    )
