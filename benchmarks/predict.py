"""`stpa predict` of many clips over its bare work: decoding, optical flow, and two networks.

The bare work is done by a pool of processes, one per core, that have the networks loaded, and that
know how many frames each clip has; it checks nothing and writes nothing down. All processes of both
are up beforehand, so that what is compared is the pace of a long batch.
"""

import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import psutil
import torch
import typer

from benchmarks.material import files_of, make_videos, network_spec
from benchmarks.measure import (
    BackboneOption,
    InputSizeOption,
    RepeatsOption,
    Setting,
    Times,
    report,
    run,
    time_figures,
)
from stpa.config import DecodeConfig
from stpa.data.killable import KillablePool
from stpa.data.manifest import Video
from stpa.data.probe import Probe, probe_videos
from stpa.data.storage import Folder
from stpa.evaluation import predict
from stpa.evaluation.fusion import Fusion
from stpa.evaluation.reading import describe_video
from stpa.models.checkpoint import load_model, save_model
from stpa.models.network import ActionNetwork
from stpa.params import load_part
from stpa.params.parts import PredictParams
from stpa.presets import DEFAULT, preset_path
from stpa.serving.classifier import Classifier
from stpa.serving.result_file import ResultFile
from stpa.serving.rows import columns_of, row_of
from stpa.serving.sources import Source, describe_sources, find_sources
from stpa.stages.predict import predict_each
from stpa.streams import FLOW, RGB
from stpa.terminal import TERMINAL

GOAL = 1.3
CLIP_SECONDS = 3
TOP = 5
SETTING = Setting("cpu", "float32")
STREAMS = (RGB, FLOW)
OPTICAL_FLOW = {"estimator": "dis", "options": {}, "bound_px": 20.0, "width": 340, "height": 256}

_bare: predict.Classifier
"""Of each process of the bare work."""


def main(
    videos: Annotated[
        Path | None, typer.Option(help="A folder of clips; default: generated ones of 320 x 240.")
    ] = None,
    clips: Annotated[int, typer.Option(min=2, help="How many.")] = 60,
    frames: Annotated[int, typer.Option("-k", min=1, help="K of the model.")] = 25,
    backbone: BackboneOption = "mobilenetv2_100",
    input_size: InputSizeOption = 128,
    repeats: RepeatsOption = 2,
) -> None:
    """Classify clips by two networks with random weights, in turn with the bare work."""
    num_processes = len(psutil.Process().cpu_affinity())
    limits = load_part(preset_path(DEFAULT), PredictParams).data
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sources = _find_clips(folder, videos, clips)
        models = _save_networks(folder, backbone, input_size)
        known = _probe_all(sources, limits, num_processes)
        with (
            TERMINAL.bar("bare work and predict in turn") as progress,
            _cores(num_processes, models, frames) as pool,
            closing(_open_classifier(models, frames, limits, num_processes)) as classifier,
        ):
            bare, whole = [], []
            _do_bare(pool, known[: 2 * num_processes])
            _predict(classifier, sources[: 2 * num_processes], folder / "first.csv")
            for turn in range(2 * repeats + 1):  # bare, predict, bare, ..., bare
                started = _now()
                if turn % 2:
                    _predict(classifier, sources, folder / f"{turn}.csv")
                else:
                    _do_bare(pool, known)
                (whole if turn % 2 else bare).append(_since(started))
                progress(turn + 1, 2 * repeats + 1)
    report(
        "predict",
        time_figures("predict over bare work", whole, bare, bound=GOAL, setting=SETTING),
        SETTING,
        clips=len(sources),
        frames=sum(video.num_frames for video, _ in known),
        processes=num_processes,
        backbone=backbone,
        input_size=input_size,
        k=frames,
        repeats=repeats,
    )


def _find_clips(folder: Path, videos: Path | None, num_clips: int) -> list[Source]:
    if videos is not None:
        return find_sources([str(videos)], [])[:num_clips]
    with TERMINAL.bar("generating videos") as progress:
        made = make_videos(folder, num_clips, CLIP_SECONDS, RGB.name, progress)
    return describe_sources(files_of(folder, RGB.name) / video.path for video in made)


def _save_networks(folder: Path, backbone: str, input_size: int) -> dict[str, Path]:
    """Write model folders, by stream."""
    models = {stream.name: folder / f"{stream}-model" for stream in STREAMS}
    for stream in STREAMS:
        network = ActionNetwork(network_spec(backbone, input_size, stream))
        save_model(models[stream.name], network)
    return models


def _probe_all(
    sources: Sequence[Source], limits: DecodeConfig, num_processes: int
) -> list[tuple[Video, Path]]:
    """Return each clip, described, and its folder."""
    found = dict(probe_videos([Path(each.path) for each in sources], limits, num_processes))
    assert all(isinstance(each, Probe) for each in found.values()), "every clip decodes"
    return [(describe_video(path, each), path.parent) for path, each in found.items()]


def _load(models: dict[str, Path], num_segments: int) -> predict.Classifier:
    return predict.Classifier(
        {stream: load_model(folder) for stream, folder in models.items()},
        fusion=Fusion("average_logits"),
        num_segments=num_segments,
        num_crops=1,
        optical_flow=OPTICAL_FLOW,
    )


def _open_classifier(
    models: dict[str, Path], num_segments: int, limits: DecodeConfig, num_processes: int
) -> Classifier:
    pool = KillablePool(limits, num_processes)
    return Classifier(_load(models, num_segments), pool, model="random/1", title="random")


def _predict(classifier: Classifier, sources: Sequence[Source], out: Path) -> None:
    columns = columns_of(TOP)
    with closing(ResultFile(out, columns)) as file:
        for source, result in predict_each(classifier, sources):
            assert result.error is None, result
            file.append([row_of(result, source, classifier.model, columns)])


def _cores(num_processes: int, models: dict[str, Path], num_segments: int) -> Executor:
    return ProcessPoolExecutor(
        num_processes, get_context("spawn"), _start_bare, (models, num_segments)
    )


def _start_bare(models: dict[str, Path], num_segments: int) -> None:
    import cv2

    global _bare
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    _bare = _load(models, num_segments)


def _do_bare(pool: Executor, videos: Sequence[tuple[Video, Path]]) -> None:
    for _ in pool.map(_score, videos):
        pass


def _score(known: tuple[Video, Path]) -> None:
    video, folder = known
    _bare.scores(video, Folder(folder))


def _now() -> Times:
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return Times(time.perf_counter(), sum(sum(each.cpu_times()[:2]) for each in processes))


def _since(started: Times) -> Times:
    """Return the times since then, of this process and of all that it has started."""
    now = _now()
    return Times(now.wall - started.wall, now.processor - started.processor)


if __name__ == "__main__":
    run(main)
