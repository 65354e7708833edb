"""How fast this machine is at the work of a retraining, by doing a little of it on Ray."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from stpa.compute.tasks import call_in_fresh_processes, cluster, count_slots, gpu_share
from stpa.compute.train import trainings_at_once
from stpa.config import Config
from stpa.data.clips import ClipReader
from stpa.data.storage import Folder
from stpa.optical_flow import ESTIMATORS
from stpa.optical_flow.extract import PAIRS_AT_ONCE
from stpa.stages.extract import TASKS_PER_GPU
from stpa.stages.workload import Workload
from stpa.streams import RGB, Stream
from stpa.training.timing import NetworkTimes, call_all, time_extraction, time_network, time_reading
from stpa.workspace import Workspace

MAX_SECONDS = 60.0
"""For all of it. On two idle cores it takes about 10 s, mostly to start the processes."""
FRAMES_ON_CPU = 4
"""Frames of one video to time optical flow with; a GPU gets as many as it takes at once."""

_READING, _EXTRACTION = "reading", "extraction"

Measurements = dict[str, Callable[[], Any]]
"""What a process measures, by a name."""


@dataclass(frozen=True)
class Speed:
    """Seconds that pieces of work take, and how many of them go on at the same time."""

    start_seconds: float
    """Of a worker process, until it has imported what it needs."""
    read_seconds: float
    """Of a frame of a clip."""
    extract_seconds: float
    """Of a frame's optical flow; 0 where none is missing."""
    networks: Mapping[str, NetworkTimes]
    """By name, as in `Workload`; and by `head_of` it, where heads are trained first."""
    num_extractions: int
    num_trainings: int
    num_evaluations: int


def measure(workspace: Workspace, config: Config, work: Workload) -> Speed:
    """Measure what `work` is made of, in one process per stream, which ends afterwards.

    Raises ComputeError where the cluster is too small, or this takes over `MAX_SECONDS`.
    """
    compute = config.compute
    resources = {"CPU": compute.cpus_per_worker, "GPU": compute.gpus_per_worker}
    with cluster(compute.address):
        on_gpu = ESTIMATORS[config.optical_flow.estimator].on_gpu
        share = gpu_share(TASKS_PER_GPU) if on_gpu else 0.0
        num_extractions = count_slots({"CPU": 1.0, "GPU": share}, "optical flow")
        num_trainings = trainings_at_once(compute)
        num_evaluations = count_slots(resources, "a K-sweep")
        first, *others = config.streams
        num_frames = PAIRS_AT_ONCE + 1 if share else FRAMES_ON_CPU
        processes = call_in_fresh_processes(
            [
                partial(
                    call_all,
                    _of_videos(workspace, config, work, num_frames)
                    | _of_networks(config, work, first),
                ),
                *(partial(call_all, _of_networks(config, work, stream)) for stream in others),
            ],
            num_cpus=compute.cpus_per_worker,
            num_gpus=max(compute.gpus_per_worker, share),
            max_seconds=MAX_SECONDS,
            purpose="measuring",
        )
    found: dict[str, Any] = {}
    for _seconds, measured in processes:
        found |= measured
    return Speed(
        start_seconds=min(seconds for seconds, _measured in processes),
        read_seconds=found.pop(_READING),
        extract_seconds=found.pop(_EXTRACTION, 0.0),
        networks=found,
        num_extractions=num_extractions,
        num_trainings=num_trainings,
        num_evaluations=num_evaluations,
    )


def _of_videos(
    workspace: Workspace, config: Config, work: Workload, num_frames: int
) -> Measurements:
    """Measure on the video of median length."""
    by_length = sorted(work.videos, key=lambda video: video.num_frames)
    video = by_length[len(by_length) // 2]
    folder = workspace.videos.resolve()
    reader = ClipReader(RGB, Folder(folder), config.train.short_side)
    found: Measurements = {
        _READING: partial(time_reading, reader, video, config.train.num_segments)
    }
    if work.to_extract:
        found[_EXTRACTION] = partial(
            time_extraction,
            folder / video.path,
            min(num_frames, video.num_frames),
            config.optical_flow.model_dump(),
        )
    return found


def _of_networks(config: Config, work: Workload, stream: Stream) -> Measurements:
    wanted = {*work.to_train, *work.to_hold_out, *work.to_evaluate}
    if work.to_store.get(stream):
        wanted.add(f"{stream} {config.heads[0]}")
    jobs = {name: job for name, job in work.jobs.items() if name in wanted and job.stream == stream}
    if config.starts_warm:
        jobs |= {head_of(name): job.of_head for name, job in jobs.items()}
    return {
        name: partial(
            time_network,
            replace(job, videos=()),  # they would be sent to the process
            config.compute.device,
            config.clips_per_worker,
        )
        for name, job in jobs.items()
    }


def head_of(name: str) -> str:
    """Return what the first part of a network's training from a warm start is measured as."""
    return f"{name}, head"
