"""How much memory training needs on this machine, and how much is free."""

import os
from dataclasses import replace

import torch

from stpa.compute.memory_share import memory_share
from stpa.compute.tasks import joined_address
from stpa.config import Config
from stpa.data.manifest import Manifest, read_manifest
from stpa.data.storage import Folder
from stpa.errors import ComputeError
from stpa.free_memory import free_memory
from stpa.models.network import ActionNetwork
from stpa.stages.training_job import unmeasured_job
from stpa.streams import Stream
from stpa.training.memory import clips_that_fit, gigabytes, measure_memory, stated_clips
from stpa.workspace import Workspace

PROGRAM_BYTES = 800_000_000
"""What a worker's process takes on its host before its first step."""
UNKNOWN_CLASSES = ("one", "two")
"""Stand for those of a dataset that is still to be ingested; their number hardly matters."""


def describe_memory(workspace: Workspace, config: Config) -> str:
    """Return what each training needs and may take; raise an StpaError where it may not have it."""
    if address := joined_address(config.compute.address):
        return f"each worker fits its clips to the memory of its node of the cluster at {address}"
    on_gpu = config.compute.gpus_per_worker > 0
    if on_gpu and not torch.cuda.is_available():
        return "of a GPU, which is not here"
    share = memory_share(config.compute, float(os.cpu_count() or 1), len(config.streams))
    device, program = ("cuda", 0) if on_gpu else ("cpu", PROGRAM_BYTES)
    free = int(share * free_memory(torch.device(device))) - program
    needs = [_describe_need(workspace, config, stream, free, device) for stream in config.streams]
    each = "each worker" if on_gpu else f"each of {round(1 / share)} worker(s)"
    return f"{', '.join(needs)}; {gigabytes(free)} are free for {each}"


def _describe_need(
    workspace: Workspace, config: Config, stream: Stream, free: int, device: str
) -> str:
    """Measure on the CPU, whatever the device: what is kept is the same."""
    known = workspace.manifest.exists()
    manifest = read_manifest(workspace.manifest) if known else Manifest(())
    job = unmeasured_job(manifest, config, stream, config.heads[0], Folder(workspace.videos))
    job = replace(job, class_names=job.class_names or UNKNOWN_CLASSES)
    num_clips = config.clips_per_worker
    memory = measure_memory(job, ActionNetwork(job.spec))
    number = stated_clips(job, num_clips)
    if number is None:
        number = clips_that_fit(job, memory, free, num_clips, device)
    need = (
        f"{stream} needs {gigabytes(memory.of(number))} with {number} of {num_clips} clips at once"
    )
    if memory.of(number) > free:
        raise ComputeError(
            f"{need}, and {gigabytes(free)} are free for it: set train.clips_at_once to auto"
        )
    return need
