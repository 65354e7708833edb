"""Training a head on stored features against training the whole network, and what features take.

Both trainings are whole ones, from building the network to its checkpoint, of the same clips and
steps, with reading and, in the peer, decoding. The features of all videos are computed before.
"""

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.material import training_config, training_job
from benchmarks.measure import (
    BackboneOption,
    DeviceOption,
    InputSizeOption,
    RepeatsOption,
    Setting,
    compare,
    report,
    run,
)
from stpa.data.features import FeatureSource, write_features
from stpa.data.storage import Folder
from stpa.evaluation.features import Views, compute_features
from stpa.evaluation.k_sweep import Sweep
from stpa.models.network import ActionNetwork
from stpa.progress import ReportProgress
from stpa.terminal import TERMINAL
from stpa.training.fit import NoHost, Place, fit
from stpa.training.job import TrainingJob

KEY = "benchmark"


def main(
    backbone: BackboneOption = "mobilenetv2_100",
    input_size: InputSizeOption = 128,
    batch: Annotated[int, typer.Option(min=1, help="Clips a step.")] = 16,
    frames: Annotated[int, typer.Option("-k", min=1, help="K of training.")] = 5,
    stored: Annotated[int, typer.Option(min=1, help="Frames of a video with features.")] = 25,
    steps: Annotated[int, typer.Option(min=1, help="Of each training.")] = 6,
    repeats: RepeatsOption = 3,
    device: DeviceOption = None,
) -> None:
    """Train the default head with random weights on RGB clips of 320 x 240."""
    setting = Setting.choose(device, "float32")
    settings = {
        "input_size": input_size,
        "short_side": input_size * 9 // 8,
        "batch_size": batch,
        "num_segments": frames,
        "freeze_batch_norm": "all",
    }
    config = training_config(backbone, settings)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with TERMINAL.bar("generating videos") as progress:
            whole = training_job(folder, config, batch * steps, progress)
        with TERMINAL.bar("storing features") as progress:
            head, num_bytes = _on_features(whole, folder / "features", stored, setting, progress)
        place = Place(device=setting.device)
        with TERMINAL.bar("training") as progress:
            figures = compare(
                "one training",
                partial(fit, head, place, NoHost()),
                partial(fit, whole, place, NoHost()),
                bound=None,
                repeats=repeats,
                setting=setting,
                progress=progress,
            )
    report(
        "features",
        figures,
        setting,
        backbone=backbone,
        input_size=input_size,
        batch=batch,
        frames=frames,
        steps=steps,
        repeats=repeats,
        stored_frames=stored,
        bytes_per_video=num_bytes,
        heads_per_minute=60 / figures[0].measured,
        networks_per_minute=60 / figures[0].peer,
    )


def _on_features(
    job: TrainingJob, folder: Path, num_frames: int, setting: Setting, progress: ReportProgress
) -> tuple[TrainingJob, int]:
    """Store the features of a job's videos; return the job of its head, and the bytes of one."""
    model = job.model.model_copy(update={"freeze": "backbone"})
    videos = sorted(set(job.videos), key=lambda video: video.path)
    keys = {video.video_id: KEY for video in videos}
    head = replace(job, model=model, features=FeatureSource(Folder(folder), 1, keys))
    torch.manual_seed(job.train.seed)
    network = ActionNetwork(head.spec).eval().to(setting.device)
    centre = Views(1, (1.0,), horizontal_flip=False, seed=0)
    for done, video in enumerate(videos, start=1):
        sweep = Sweep((num_frames,), "exact")
        found = compute_features(network, video, job.storage, sweep, centre)
        write_features(folder / video.feature_path, *found, KEY)
        progress(done, len(videos))
    return head, (folder / videos[0].feature_path).stat().st_size


if __name__ == "__main__":
    run(main)
