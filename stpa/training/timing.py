"""How long the pieces of a retraining take on this machine, by doing a little of each."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.nn import functional as F

from stpa.data.clips import ClipReader
from stpa.data.manifest import Video
from stpa.data.sampling import test_positions
from stpa.models.network import ActionNetwork
from stpa.optical_flow.extract import extract_video
from stpa.training.job import TrainingJob
from stpa.training.job_clips import noise, noisy_frames
from stpa.training.loop import train_step
from stpa.training.memory import choose_clips_at_once
from stpa.training.optim import freeze, hold_frozen

BUDGET_SECONDS = 0.5
"""Of repeating each thing that is timed."""
CLIPS_ON_CPU = 2
"""Of a step: there time grows with the clips, and what else a step costs is little."""


@dataclass(frozen=True)
class NetworkTimes:
    """How long a network takes, without the reading of videos."""

    clip_seconds: float
    """A clip's part of an optimiser step."""
    frame_seconds: float
    """A test frame's way through the backbone."""


def time_network(job: TrainingJob, device: str, clips_per_step: int) -> NetworkTimes:
    """Time training and testing of `job`'s network with random weights and frames.

    `clips_per_step` are those of one worker. A GPU is given all of them, as it is not busy with
    less.
    """
    num_clips = min(CLIPS_ON_CPU, clips_per_step) if device == "cpu" else clips_per_step
    num_classes = len(job.class_names)
    network = ActionNetwork(job.spec).to(device)
    freeze(network.backbone, job.frozen)
    frames = noise(job, network, num_clips, job.train.num_segments)
    labels = torch.arange(num_clips, device=device) % num_classes
    batch = {"frames": frames, "target": F.one_hot(labels, num_classes).float()}
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-9)
    clips_at_once = choose_clips_at_once(job, network, num_clips, memory_share=1.0)
    options = job.step_options(clips_at_once)

    def train() -> None:
        train_step(network, batch, optimizer, options)

    test_frames = noisy_frames(network, job.train.num_segments)

    @torch.inference_mode()
    def test() -> None:
        network.frame_states(network.pyramid(test_frames))

    network.train()
    hold_frozen(network.backbone, job.frozen)
    step_seconds = seconds_of(train)
    network.eval()
    return NetworkTimes(step_seconds / num_clips, seconds_of(test) / job.train.num_segments)


def time_reading(reader: ClipReader, video: Video, num_segments: int) -> float:
    """Return how many seconds it takes to read a frame of a clip of an RGB video."""
    positions = test_positions(video.num_frames, num_segments, span=1)
    return seconds_of(lambda: reader.read(video, positions)) / num_segments


def time_extraction(video: Path, num_frames: int, settings: Mapping[str, Any]) -> float:
    """Return how many seconds each of a video's first frames takes to its stored optical flow."""
    import cv2

    cv2.setNumThreads(1)
    with TemporaryDirectory() as folder:
        files = (Path(folder) / f"{number}.avi" for number in count())
        return (
            seconds_of(
                lambda: extract_video(
                    video, next(files), num_frames=num_frames, source_sha256="", **settings
                )
            )
            / num_frames
        )


def call_all(functions: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """Return what each function returns, by its name."""
    return {name: function() for name, function in functions.items()}


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long one call takes: the mean of those that fit in `BUDGET_SECONDS`, of one at
    least.

    A call before them does not count: it also imports, loads and allocates.
    """
    _finish(work)
    num_calls, started = 0, time.perf_counter()
    while True:
        _finish(work)
        num_calls += 1
        elapsed = time.perf_counter() - started
        if elapsed >= BUDGET_SECONDS:
            return elapsed / num_calls


def _finish(work: Callable[[], object]) -> None:
    work()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
