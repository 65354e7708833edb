"""Our TV-L1 against OpenCV's, on the same pairs of frames: time, and the difference in the flow.

OpenCV's runs on the CPU wherever ours does. With the parameters of OpenCV's CPU code both find
the same flow; those of its GPU code are the default of the estimator `tvl1`.
"""

import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer

from benchmarks.material import files_of, make_videos
from benchmarks.measure import RepeatsOption, Setting, compare, report, run
from stpa.data.datasets.base import find_videos
from stpa.data.decode import read_frames
from stpa.optical_flow import ESTIMATORS, Estimator
from stpa.optical_flow.estimators import Flows, Frames
from stpa.terminal import TERMINAL

WIDTH, HEIGHT = 340, 256
"""As TSN resizes frames before the flow is taken."""

FIRST_FRAME = 10
"""Of a video: recordings often begin with a still."""


def main(
    videos: Annotated[
        Path | None, typer.Option(help="A folder of videos; default: generated ones.")
    ] = None,
    num_videos: Annotated[int, typer.Option(min=1)] = 4,
    pairs: Annotated[int, typer.Option(min=1, help="Of each video.")] = 4,
    threads: Annotated[int, typer.Option(min=1, help="For OpenCV and for PyTorch.")] = 1,
    repeats: RepeatsOption = 3,
) -> None:
    """Time TV-L1 on a GPU where there is one, else on the CPU, over OpenCV's on the CPU."""
    cv2.setNumThreads(threads)
    torch.set_num_threads(threads)
    setting = Setting.choose(None, "float32")
    runs = _read_runs(videos, num_videos, pairs)
    opencv = ESTIMATORS["opencv_tvl1"].make()
    figures, conditions = [], {}
    for parameters, bound in (("opencv_cpu", 1.0), ("opencv_gpu", None)):
        ours = ESTIMATORS["tvl1"].make(parameters=parameters)
        difference = _endpoint_difference(ours, opencv, runs)
        with TERMINAL.bar(f"timing {parameters}") as progress:
            compared = compare(
                f"{parameters} parameters over OpenCV's TV-L1",
                partial(_estimate, ours, runs),
                partial(_estimate, opencv, runs),
                bound=bound,
                repeats=repeats,
                setting=setting,
                progress=progress,
            )
        figures += compared
        num_pairs = sum(len(run) - 1 for run in runs)
        conditions[f"{parameters}_pairs_per_second"] = num_pairs / compared[0].measured
        conditions[f"{parameters}_endpoint_difference_px"] = difference
    report(
        "tvl1",
        figures,
        setting,
        width=WIDTH,
        height=HEIGHT,
        videos=len(runs),
        pairs=pairs,
        repeats=repeats,
        **conditions,
    )


def _read_runs(folder: Path | None, num_videos: int, pairs: int) -> list[Frames]:
    """Read neighbouring frames of each video, resized."""
    with tempfile.TemporaryDirectory() as temporary:
        if folder is None:
            folder = Path(temporary)
            with TERMINAL.bar("generating videos") as progress:
                make_videos(folder, num_videos, 2, "rgb", progress)
            folder = files_of(folder, "rgb")
        paths = find_videos(folder)[:num_videos]
        indices = range(FIRST_FRAME, FIRST_FRAME + pairs + 1)
        return [_resize(read_frames(path, indices)) for path in paths]


def _resize(frames: Frames) -> Frames:
    size = (WIDTH, HEIGHT)
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])


def _estimate(estimator: Estimator, runs: list[Frames]) -> list[Flows]:
    return [estimator(run) for run in runs]


def _endpoint_difference(ours: Estimator, opencv: Estimator, runs: list[Frames]) -> float:
    """Return the mean distance between the two flows' ends, px."""
    pairs = zip(_estimate(ours, runs), _estimate(opencv, runs), strict=True)
    return float(np.mean([np.linalg.norm(a - b, axis=1).mean() for a, b in pairs]))


if __name__ == "__main__":
    run(main)
