"""One long video: memory that does not grow with K, and time that grows no faster than K.

Each measurement has a process of its own, since a process's peak never falls. The peak is what
the process held of memory, libraries and weights included, or on a GPU what PyTorch allocated.
"""

import ctypes
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

from benchmarks.material import FRAMES_PER_SECOND, files_of, make_videos, network_spec
from benchmarks.measure import (
    BackboneOption,
    DeviceOption,
    DtypeOption,
    Figure,
    InputSizeOption,
    RepeatsOption,
    Setting,
    Times,
    Work,
    figure,
    report,
    run,
    time_figures,
    time_of,
)
from stpa.data.manifest import Video
from stpa.data.storage import Folder
from stpa.evaluation.k_sweep import FRAMES_AT_ONCE, Sweep, sweep_video
from stpa.models.network import ActionNetwork, NetworkSpec
from stpa.terminal import TERMINAL
from stpa.training.loop import loss_terms, total_loss
from stpa.training.optim import freeze, hold_frozen

FEW, SOME, MANY = 30, 100, 1000
"""K: peak memory is compared between the first and the last, time between the other two."""

SHORT_CLIP, LONG_CLIP, CHUNK = 24, 96, 12
"""Frames of two training clips, and of the chunks in which both go through: the recomputation,
and the gradients it adds up to, are part of what is compared."""

BOUND = 1.1
M_MMAP_THRESHOLD = -3
"""malloc.h's name for it."""
MMAP_THRESHOLD_BYTES = 2**16
MIB = 2**20


class Cost(NamedTuple):
    """What some work took, in a process that did nothing else."""

    times: Times
    peak_mib: float
    held_before_mib: float
    """Libraries and weights."""

    @property
    def working_mib(self) -> float:
        """Return the part of the peak that the work itself added."""
        return self.peak_mib - self.held_before_mib

    def a_frame(self, num_frames: int) -> Times:
        """Return the times by the frame."""
        return Times(self.times.wall / num_frames, self.times.processor / num_frames)


def main(
    backbone: BackboneOption = "inception_resnet_v2",
    input_size: InputSizeOption = 299,
    repeats: RepeatsOption = 1,
    device: DeviceOption = None,
    dtype: DtypeOption = "float32",
) -> None:
    """Compare K = 1000 with K = 30 and 100 on one video, and training on 96 frames with 24."""
    setting = Setting.choose(device, dtype)
    spec = network_spec(backbone, input_size)
    with tempfile.TemporaryDirectory() as temporary:
        with TERMINAL.bar("generating a video") as progress:
            seconds = MANY // FRAMES_PER_SECOND
            [video] = make_videos(Path(temporary), 1, seconds, spec.stream.name, progress)
        storage = Folder(files_of(Path(temporary), spec.stream.name))
        works = {k: partial(_sweep, spec, setting, video, storage, k) for k in (FEW, SOME, MANY)}
        works |= {n: partial(_train, spec, setting, n) for n in (SHORT_CLIP, LONG_CLIP)}
        costs: dict[int, list[Cost]] = {name: [] for name in works}
        with TERMINAL.bar("measuring") as progress:
            for turn in range(repeats):
                for done, (name, work) in enumerate(works.items(), start=1):
                    costs[name].append(_alone(work))
                    progress(turn * len(works) + done, repeats * len(works))
    report(
        "long_video",
        _figures(costs, setting),
        setting,
        backbone=backbone,
        input_size=input_size,
        frames_at_once=FRAMES_AT_ONCE,
        repeats=repeats,
    )


def _figures(costs: dict[int, list[Cost]], setting: Setting) -> list[Figure]:
    peaks = {name: [each.peak_mib for each in runs] for name, runs in costs.items()}
    working = {name: [each.working_mib for each in runs] for name, runs in costs.items()}
    pace = {k: [each.a_frame(k) for each in runs] for k, runs in costs.items()}
    over_few, over_some = f"K={MANY} over K={FEW}", f"K={MANY} over K={SOME}"
    over_short = f"{LONG_CLIP} frames over {SHORT_CLIP}, in chunks of {CHUNK}"
    return [
        figure(f"peak memory, {over_few}", peaks[MANY], peaks[FEW], bound=BOUND, unit="MiB"),
        figure(f"working memory, {over_few}", working[MANY], working[FEW], bound=None, unit="MiB"),
        *time_figures(
            f"time a frame, {over_some}", pace[MANY], pace[SOME], bound=BOUND, setting=setting
        ),
        figure(
            f"peak memory in training, {over_short}",
            peaks[LONG_CLIP],
            peaks[SHORT_CLIP],
            bound=BOUND,
            unit="MiB",
        ),
        figure(
            f"working memory in training, {over_short}",
            working[LONG_CLIP],
            working[SHORT_CLIP],
            bound=None,
            unit="MiB",
        ),
    ]


def _alone(work: Callable[[], Cost]) -> Cost:
    """Measure in a process of its own, which gives back what it frees.

    By default the C library keeps freed memory in pieces for later, and a process that needs no
    more than another one holds up to twice as much.
    """
    with ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), initializer=_give_back_what_is_freed
    ) as pool:
        return pool.submit(work).result()


def _give_back_what_is_freed() -> None:
    """Fix the size from which glibc takes memory from the system and returns it there."""
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)


def _sweep(spec: NetworkSpec, setting: Setting, video: Video, storage: Folder, k: int) -> Cost:
    network = ActionNetwork(spec).eval().to(setting.device)

    def sweep(values_of_k: tuple[int, ...]) -> None:
        with setting.autocast():
            sweep_video(network, video, storage, Sweep(values_of_k, "exact"))

    held = _held_mib(setting)
    sweep((2,))  # what a process does only once is no part of the pace
    return _cost(partial(sweep, (k,)), held, setting)


def _train(spec: NetworkSpec, setting: Setting, num_frames: int) -> Cost:
    network = ActionNetwork(spec)
    freeze(network.backbone, "all")
    network.train().to(setting.device)
    hold_frozen(network.backbone, "all")
    size = (1, num_frames, spec.stream.channels, spec.input_size, spec.input_size)
    clip = torch.randint(0, 256, size, dtype=torch.uint8, device=setting.device)
    target = torch.eye(len(spec.class_names), device=setting.device)[:1]

    def step() -> None:
        with setting.autocast():
            output = network(clip, frames_at_once=CHUNK)
            loss = total_loss(
                loss_terms(output, target, multi_label=False), network.head.options.loss_weights
            )
        loss.backward()

    return _cost(step, _held_mib(setting), setting)


def _cost(work: Work, held_mib: float, setting: Setting) -> Cost:
    times = time_of(work, setting)
    return Cost(times, _peak_mib(setting), held_mib)


def _held_mib(setting: Setting) -> float:
    if setting.device == "cuda":
        return torch.cuda.memory_allocated() / MIB
    return psutil.Process().memory_info().rss / MIB


def _peak_mib(setting: Setting) -> float:
    if setting.device == "cuda":
        return torch.cuda.max_memory_allocated() / MIB
    # Not getrusage's: it starts at the peak of the process that this one came from.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    [kib] = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(kib) / 1024


if __name__ == "__main__":
    run(main)
