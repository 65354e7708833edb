"""Our training, decoding and all, against the bare timm backbone on data that are there already.

The peer runs forward and backward alone: no attention, no losses but the classifier's, no
optimiser, no loader. Both have the same frames a step, precision, memory layout and frozen batch
norms, and the memory settings of a worker of the cluster. They take turns, a block of steps each;
the first steps of a block are not counted, since the loader has worked ahead in the peer's turn.
"""

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import timm
import torch
import typer
from rich.table import Table
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.material import NUM_CLASSES, training_config, training_job
from benchmarks.measure import (
    BackboneOption,
    BatchOption,
    DeviceOption,
    DtypeOption,
    FramesOption,
    InputSizeOption,
    Setting,
    print_record,
    run_as_worker,
    time_of,
)
from stpa.config import Config
from stpa.progress import ReportProgress, silent
from stpa.terminal import TERMINAL
from stpa.training.agreement import Wish
from stpa.training.fit import Place, fit

GOAL = 0.9


def main(
    backbone: BackboneOption = "mobilenetv2_100",
    input_size: InputSizeOption = 224,
    batch: BatchOption = 8,
    frames: FramesOption = 3,
    steps: Annotated[int, typer.Option(min=1, help="Counted in a turn.")] = 6,
    turns: Annotated[int, typer.Option(min=1, help="Of each.")] = 7,
    loader_processes: Annotated[int, typer.Option(min=1)] = 1,
    compiled: Annotated[bool, typer.Option("--compile", help="By torch.compile.")] = False,
    peak_tflops: Annotated[float | None, typer.Option(help="Of the device, by its maker.")] = None,
    device: DeviceOption = None,
    dtype: DtypeOption = "float32",
) -> None:
    """Train a network of random weights on RGB clips of 320 x 240, with a loader process a core."""
    setting = Setting.choose(device, dtype)
    if setting.device == "cpu":  # both compute on what the loader leaves
        torch.set_num_threads(max(1, (os.cpu_count() or 1) - loader_processes))
    settings = {
        "input_size": input_size,
        "short_side": max(256, input_size),
        "batch_size": batch,
        "num_segments": frames,
        "precision": dtype,
        "compile": compiled,
    }
    config = training_config(backbone, settings)
    bare = _BareStep(config, setting)
    # A loader process has two batches ready, and more are on their way.
    warm_steps = 2 * loader_processes + 4
    rivals = _Rivals(bare, setting, warm_steps, steps)
    with tempfile.TemporaryDirectory() as temporary:
        with TERMINAL.bar("generating videos") as progress:
            # The first turn of each is not counted.
            num_clips = batch * (warm_steps + steps) * (turns + 1)
            job = training_job(Path(temporary), config, num_clips, progress)
        with TERMINAL.bar("training") as rivals.progress:
            place = Place(device=setting.device, loader_processes=loader_processes)
            fit(job, place, rivals)
    _report(
        rivals,
        setting,
        clips=batch,
        frames=frames,
        tera_operations=bare.tera_operations,
        peak_tflops=peak_tflops,
        backbone=backbone,
        warm_steps=warm_steps,
        steps=steps,
        loader_processes=loader_processes,
        **settings,
    )


class _BareStep:
    """Forward and backward of a timm classifier on frames that stay where they are."""

    def __init__(self, config: Config, setting: Setting) -> None:
        train, device = config.train, torch.device(setting.device)
        network = timm.create_model(config.model.backbone, num_classes=NUM_CLASSES).to(device)
        norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
        network.train()
        for norm in norms[1:]:  # freeze_batch_norm: all_but_first
            norm.eval().requires_grad_(False)
        size = (train.batch_size * train.num_segments, 3, train.input_size, train.input_size)
        self._frames = torch.randn(size, device=device)
        self._labels = torch.randint(NUM_CLASSES, size[:1], device=device)
        self._setting = setting
        convert_conv2d_weight_memory_format(network, torch.channels_last)  # as in ActionNetwork
        self._frames = self._frames.contiguous(memory_format=torch.channels_last)
        self._network = network
        with FlopCounterMode(display=False) as counter:
            self()
        self.tera_operations = counter.get_total_flops() / 1e12
        if train.compile:
            network.compile()

    def __call__(self) -> None:
        with self._setting.autocast():
            loss = F.cross_entropy(self._network(self._frames), self._labels)
        self._network.zero_grad(set_to_none=True)
        loss.backward()


class _Rivals:
    """Lets a fit take a turn of steps, and then the peer."""

    def __init__(
        self, bare: Callable[[], None], setting: Setting, warm_steps: int, steps: int
    ) -> None:
        self._bare, self._setting = bare, setting
        self._warm_steps, self._steps = warm_steps, steps
        self._started = 0.0
        self.our_seconds: list[float] = []
        self.bare_seconds: list[float] = []
        """Of a step, in each turn."""
        self.progress: ReportProgress = silent

    def after_step(self, done: int, total: int, means: Mapping[str, float]) -> Wish:
        """Start the clock where the warm steps end, and stop it at the end of the turn."""
        place = done % (self._warm_steps + self._steps)
        if place == self._warm_steps:
            self._setting.wait()
            self._started = time.perf_counter()
        if place == 0:
            self._setting.wait()
            self.our_seconds.append((time.perf_counter() - self._started) / self._steps)
            self._bare()
            turn = time_of(lambda: [self._bare() for _ in range(self._steps)], self._setting)
            self.bare_seconds.append(turn.wall / self._steps)
        self.progress(done, total)
        return Wish.GO_ON

    def keep(
        self, metrics: dict[str, float] | None, write_checkpoint: Callable[[Path], None]
    ) -> None:
        """Keep nothing."""


def _report(
    rivals: _Rivals,
    setting: Setting,
    *,
    clips: int,
    frames: int,
    tera_operations: float,
    peak_tflops: float | None,
    backbone: str,
    **conditions: Any,
) -> None:
    """Show and print what came out of steps of `clips` clips of `frames` frames."""
    ours, peer = np.array(rivals.our_seconds[1:]), np.array(rivals.bare_seconds[1:])
    ratio = float(np.median(peer / ours))
    rates = {"ours": clips / float(np.median(ours)), "bare": clips / float(np.median(peer))}
    tflops = tera_operations / float(np.median(peer))
    table = Table("clips/s", *rates, "ours over bare", title="train_throughput")
    colour = "green" if ratio >= GOAL else "red"
    table.add_row(
        f"K = {frames}, {backbone}",
        *[f"{rate:.1f}" for rate in rates.values()],
        f"[{colour}]{ratio:.3f}[/]",
    )
    TERMINAL.console.print(table)
    print_record(
        "train_throughput",
        setting,
        ratio=ratio,
        bound=GOAL,
        spread=np.percentile(peer / ours, (25, 75)).tolist(),
        clips_per_second=rates,
        images_per_second=rates["ours"] * frames,
        bare_tflops_per_second=tflops,
        bare_share_of_peak=peak_tflops and tflops / peak_tflops,
        share_of_peak=peak_tflops and tflops * ratio / peak_tflops,
        backbone=backbone,
        **conditions,
    )


if __name__ == "__main__":
    run_as_worker(main)
