"""Compare two pieces of work on a machine that others use too, and say what came out."""

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
import typer
from rich.markup import escape
from rich.table import Table

from stpa.compute.tasks import worker_environment
from stpa.errors import ComputeError, StpaError
from stpa.progress import ReportProgress
from stpa.terminal import TERMINAL

Work = Callable[[], object]

Device = Literal["cpu", "cuda"]
Dtype = Literal["float32", "bfloat16"]

DeviceOption = Annotated[Device | None, typer.Option(help="Default: cuda where there is one.")]
DtypeOption = Annotated[Dtype, typer.Option(help="bfloat16: by autocast.")]
RepeatsOption = Annotated[int, typer.Option(min=1, help="Runs of what is measured.")]
BatchOption = Annotated[int, typer.Option(min=1, help="Clips a step.")]
FramesOption = Annotated[int, typer.Option("-k", min=1, help="K of training.")]
BackboneOption = Annotated[str, typer.Option(help="A timm CNN.")]
InputSizeOption = Annotated[int, typer.Option(min=32, help="Side of the crop, px.")]


@dataclass(frozen=True)
class Setting:
    """Where the work is done, and how precisely."""

    device: Device
    dtype: Dtype

    @classmethod
    def choose(cls, device: Device | None, dtype: Dtype) -> "Setting":
        """Take the GPU, where there is one, if none is named. Raises ComputeError."""
        found: Device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda" != found:
            raise ComputeError("PyTorch finds no GPU here: take --device cpu")
        return cls(device or found, dtype)

    def autocast(self) -> torch.autocast:
        """Return a context that computes in `dtype`."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.dtype == "bfloat16")

    def wait(self) -> None:
        """Let a GPU finish what it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()


@dataclass(frozen=True)
class Figure:
    """One ratio, and the two medians behind it."""

    name: str
    ratio: float
    spread: tuple[float, float]
    """The quartiles of the single ratios."""
    bound: float | None
    """What the ratio should be at most; None for one that is only told."""
    measured: float
    peer: float
    unit: str


class Times(NamedTuple):
    """Of one piece of work, in seconds."""

    wall: float
    processor: float
    """Summed over this process's threads."""


def figure(
    name: str, measured: Sequence[float], peer: Sequence[float], *, bound: float | None, unit: str
) -> Figure:
    """Take the median ratio of neighbours, from measurements peer, measured, peer, ... in turn.

    A machine that is slow for a while is slow for both. `peer` may have a last one more.
    """
    ours, theirs = np.asarray(measured), np.asarray(peer)
    following = theirs[1:]
    ratios = np.concatenate([ours / theirs[: len(ours)], ours[: len(following)] / following])
    low, middle, high = np.percentile(ratios, (25, 50, 75)).tolist()
    medians = float(np.median(ours)), float(np.median(theirs))
    return Figure(name, middle, (low, high), bound, *medians, unit)


def compare(
    name: str,
    work: Work,
    peer: Work,
    *,
    bound: float | None,
    repeats: int,
    setting: Setting,
    progress: ReportProgress,
) -> list[Figure]:
    """Time `work` against `peer`, each once before for nothing and then in turn."""
    turns = [peer, work, *[peer, work] * repeats, peer]
    times = []
    for done, turn in enumerate(turns, start=1):
        times.append(time_of(turn, setting))
        progress(done, len(turns))
    return time_figures(name, times[3::2], times[2::2], bound=bound, setting=setting)


def time_figures(
    name: str,
    measured: Sequence[Times],
    peer: Sequence[Times],
    *,
    bound: float | None,
    setting: Setting,
) -> list[Figure]:
    """Compare wall times, and on a CPU processor times: these have no bound, but others' load
    hardly changes them.
    """
    (wall, processor), (peer_wall, peer_processor) = (
        zip(*measured, strict=True),
        zip(*peer, strict=True),
    )
    figures = [figure(name, wall, peer_wall, bound=bound, unit="s")]
    if setting.device == "cpu":
        name = f"{name}, processor time"
        figures.append(figure(name, processor, peer_processor, bound=None, unit="s"))
    return figures


def time_of(work: Work, setting: Setting) -> Times:
    """Run some work, a GPU's part in it included."""
    setting.wait()
    started, processor_started = time.perf_counter(), time.process_time()
    work()
    setting.wait()
    return Times(time.perf_counter() - started, time.process_time() - processor_started)


def report(benchmark: str, figures: Sequence[Figure], setting: Setting, **conditions: Any) -> None:
    """Show the figures on stderr, and print them as one line of JSON; the first is its `ratio`."""
    table = Table("", "measured", "peer", "ratio", "quartiles", "bound", title=benchmark)
    for each in figures:
        met = each.bound is None or each.ratio <= each.bound
        table.add_row(
            escape(each.name),
            f"{each.measured:.4g} {each.unit}",
            f"{each.peer:.4g} {each.unit}",
            f"[{'green' if met else 'red'}]{each.ratio:.3f}[/]",
            "{:.3f} - {:.3f}".format(*each.spread),
            "" if each.bound is None else f"{each.bound:g}",
        )
    TERMINAL.console.print(table)
    first = figures[0]
    print_record(
        benchmark,
        setting,
        ratio=first.ratio,
        bound=first.bound,
        spread=first.spread,
        figures=[asdict(each) for each in figures],
        **conditions,
    )


def print_record(benchmark: str, setting: Setting, **found: Any) -> None:
    """Print what was found, and on what machine, as one line of JSON."""
    record = {
        "benchmark": benchmark,
        **found,
        **asdict(setting),
        "processor": _processor(setting),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "torch": torch.__version__,
    }
    print(json.dumps(record))


def run(benchmark: Callable[..., None]) -> None:
    """Run a benchmark by its command line; one line an error that a person can cause."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(context_settings={"help_option_names": ["-h", "--help"]})(benchmark)
    try:
        app()
    except StpaError as error:
        TERMINAL.console.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)


def run_as_worker(benchmark: Callable[..., None]) -> None:
    """Do as `run`, in a process with the environment of the cluster's workers."""
    if os.environ.items() >= worker_environment().items():
        run(benchmark)
    else:  # the C library reads it when a process starts
        os.execve(sys.executable, sys.orig_argv, os.environ | worker_environment())


def _processor(setting: Setting) -> str:
    if setting.device == "cuda":
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()} cores, {platform.machine()}"
