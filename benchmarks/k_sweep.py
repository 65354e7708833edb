"""A sweep over seven values of K against its largest K alone, decoding included.

Both look at the same videos through the same network, so the ratio is the price of six more
values of K. On the nested grid these look at no frame that the largest does not; on the exact one
the seven look at up to 85 distinct frames of a video, 2.83 times as many as K = 30.
"""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from benchmarks.material import files_of, make_videos, network_spec
from benchmarks.measure import (
    BackboneOption,
    DeviceOption,
    DtypeOption,
    InputSizeOption,
    RepeatsOption,
    Setting,
    compare,
    report,
    run,
)
from stpa.data.manifest import Video
from stpa.data.storage import Folder
from stpa.evaluation.k_sweep import Sweep, sweep_video
from stpa.models.network import ActionNetwork
from stpa.streams import STREAMS
from stpa.terminal import TERMINAL

VALUES_OF_K = (1, 5, 10, 15, 20, 25, 30)
BOUNDS = {"nested": 1.05, "exact": 2.9}


def main(
    grid: Annotated[Literal["nested", "exact"], typer.Option(help="Each K's positions.")] = "exact",
    backbone: BackboneOption = "inception_resnet_v2",
    input_size: InputSizeOption = 299,
    stream: Annotated[Literal["rgb", "flow"], typer.Option()] = "rgb",
    videos: Annotated[int, typer.Option(min=1, help="How many.")] = 4,
    seconds: Annotated[int, typer.Option(min=2, help="Length of each video.")] = 10,
    repeats: RepeatsOption = 3,
    device: DeviceOption = None,
    dtype: DtypeOption = "float32",
) -> None:
    """Time a sweep of K in 1, 5, ..., 30 over K = 30 alone."""
    setting = Setting.choose(device, dtype)
    network = (
        ActionNetwork(network_spec(backbone, input_size, STREAMS[stream])).eval().to(setting.device)
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with TERMINAL.bar("generating videos") as progress:
            made = make_videos(folder, videos, seconds, stream, progress)

        storage = Folder(files_of(folder, stream))

        def sweep(values_of_k: tuple[int, ...]) -> None:
            with setting.autocast():
                for video in made:
                    sweep_video(network, video, storage, Sweep(values_of_k, grid))

        with TERMINAL.bar("sweeping") as progress:
            figures = compare(
                f"{len(VALUES_OF_K)} values of K over K={max(VALUES_OF_K)}",
                partial(sweep, VALUES_OF_K),
                partial(sweep, VALUES_OF_K[-1:]),
                bound=BOUNDS[grid],
                repeats=repeats,
                setting=setting,
                progress=progress,
            )
    report(
        "k_sweep",
        figures,
        setting,
        grid=grid,
        backbone=backbone,
        input_size=input_size,
        stream=stream,
        videos=videos,
        repeats=repeats,
        frames_ratio=_frames(made, stream, Sweep(VALUES_OF_K, grid))
        / _frames(made, stream, Sweep(VALUES_OF_K[-1:], grid)),
    )


def _frames(videos: Sequence[Video], stream: str, sweep: Sweep) -> int:
    return sum(len(sweep.distinct_positions(video, STREAMS[stream])) for video in videos)


if __name__ == "__main__":
    run(main)
