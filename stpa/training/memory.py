"""How much memory a training's steps need, and how many clips at once fit into what is free."""

from dataclasses import dataclass

import torch
from torch.autograd.graph import saved_tensors_hooks

from stpa.errors import ModelError
from stpa.free_memory import free_memory
from stpa.models.network import ActionNetwork
from stpa.training.job import TrainingJob
from stpa.training.job_clips import noise
from stpa.training.optim import hold_frozen

USEFUL_FRAMES = 12
"""More of them at once make a CPU no faster: 4 clips of 3 frames of 224 px take as long per clip as
8, and 1 takes a fifth longer."""
PLANNED_SHARE = {"cpu": 0.5, "cuda": 0.8}
"""Of the free memory. The rest is for what is not counted here: loader processes, workspaces of
convolutions, fragmentation, and other programs. On a host more is left, as the kernel ends a
process that is short of memory, with no error to catch."""
STEP_OVER_FORWARD = 1.4
"""Memory of a step over what its forward pass keeps. Measured on CPUs: 1.2 for MobileNetV2, 1.4 for
ResNet-50 and BN-Inception."""
COPIES_OF_WEIGHTS = 5
"""Next to the weights: gradients, their buffers in distributed training, AdamW's two moments, and
the moving average."""


@dataclass(frozen=True)
class StepMemory:
    """Bytes that a step takes next to the network and the data."""

    fixed: int
    per_clip: int

    def of(self, num_clips: int) -> int:
        """Return what a step takes with `num_clips` clips at once."""
        return self.fixed + num_clips * self.per_clip


def measure_memory(job: TrainingJob, network: ActionNetwork) -> StepMemory:
    """Measure what one clip's forward pass keeps for the backward pass; leave `network` in
    training mode.
    """
    train = job.train
    # Chunks of frames that are computed again are in memory one after the other.
    num_frames = min(train.num_segments, train.frames_at_once or train.num_segments)
    clip = noise(job, network, 1, num_frames)
    kept: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    network.train()
    # Noise must not enter the statistics of batch norms.
    hold_frozen(network.backbone, "backbone" if job.learns_from_features else "all")
    is_half = train.precision == "bfloat16"
    with (
        torch.autocast(clip.device.type, torch.bfloat16, enabled=is_half),
        saved_tensors_hooks(count, lambda tensor: tensor),
    ):
        # As long as the output exists, so does all that is kept, at addresses of its own.
        # `forward`, as a call would compile a compiled network for one clip, too.
        output = network.forward(clip)
    weights = [each.untyped_storage() for each in (*network.parameters(), *network.buffers())]
    for storage in weights:
        kept.pop(storage.data_ptr(), None)
    del output
    fixed = COPIES_OF_WEIGHTS * sum(storage.nbytes() for storage in weights)
    return StepMemory(fixed, round(STEP_OVER_FORWARD * sum(kept.values())))


def choose_clips_at_once(
    job: TrainingJob, network: ActionNetwork, num_clips: int, memory_share: float
) -> int:
    """Return how many of the `num_clips` of a worker's step go through the network together.

    The worker may take `memory_share` of what is free on the network's device. Raises ModelError
    as `clips_that_fit` does.
    """
    if (stated := stated_clips(job, num_clips)) is not None:
        return stated
    device = network.mean.device
    free = int(memory_share * free_memory(device))  # before the measurement takes some
    return clips_that_fit(job, measure_memory(job, network), free, num_clips, device.type)


def clips_that_fit(
    job: TrainingJob, memory: StepMemory, free: int, num_clips: int, device: str
) -> int:
    """Return how many of `num_clips` fit into `free` bytes of a `device`, "cpu" or "cuda".

    Where batch norms learn, which would take statistics of each part, all must go at once. Raises
    ModelError where what must go at once does not fit.
    """
    fewest = 1 if job.may_part_steps else num_clips
    if memory.of(fewest) > free:
        raise ModelError(_shortage(job, memory, free, num_clips))
    if not job.may_part_steps:
        return num_clips
    fitting = (int(PLANNED_SHARE[device] * free) - memory.fixed) // max(1, memory.per_clip)
    useful = -(-USEFUL_FRAMES // job.train.num_segments) if device == "cpu" else num_clips
    return max(1, min(fitting, useful, num_clips))


def stated_clips(job: TrainingJob, num_clips: int) -> int | None:
    """Return the number in params.yaml, at most `num_clips`; null is all of them, auto None."""
    stated = job.train.clips_at_once
    if stated == "auto":
        return None
    return min(stated, num_clips) if isinstance(stated, int) else num_clips


def _shortage(job: TrainingJob, memory: StepMemory, free: int, num_clips: int) -> str:
    if job.may_part_steps:
        return (
            f"one clip at once needs about {gigabytes(memory.of(1))} of a worker's memory, and "
            f"{gigabytes(free)} are free: close other programs, set train.frames_at_once, lower "
            "train.input_size or train.num_segments, or choose a smaller model.backbone"
        )
    return (
        f"the {num_clips} clips of a step need about {gigabytes(memory.of(num_clips))} of a "
        f"worker's memory, and {gigabytes(free)} are free: set train.freeze_batch_norm to all, "
        "lower train.batch_size, or set train.clips_at_once to a number, of whose clips batch "
        "norms then take statistics"
    )


def gigabytes(num_bytes: int) -> str:
    """Return a number of bytes as a person reads it."""
    return f"{num_bytes / 1e9:.1f} GB"
