"""Videos a second of two workers over those of one, with a processor each, on a real Ray cluster.

Each trains the same network on the same clips, in turn, as `stpa train` does. What is compared is
the speed that epochs are logged with, but for the first, in which processes still start up. Two
trainings at once, which share nothing but the machine, show what it would let two workers reach.
"""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.material import training_config, training_job
from benchmarks.measure import BackboneOption, InputSizeOption, Setting, figure, report, run
from stpa.compute.tasks import cluster
from stpa.compute.train import fit_on_cluster
from stpa.config import Config
from stpa.files import read_json
from stpa.models.network import ActionNetwork
from stpa.terminal import TERMINAL
from stpa.training.checkpoint import PROGRESS_FILE
from stpa.training.job import TrainingJob

BYTES_OF_A_GRADIENT = 4
"""Float32, whatever the precision of the network."""
GOAL = 1.8


def main(
    backbone: BackboneOption = "mobilenetv2_100",
    input_size: InputSizeOption = 224,
    batch: Annotated[int, typer.Option(min=2, help="Clips a step, of both workers.")] = 16,
    steps: Annotated[int, typer.Option(min=1, help="In an epoch.")] = 6,
    epochs: Annotated[int, typer.Option(min=2)] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="Trainings of each kind.")] = 2,
) -> None:
    """Train with one worker and with two, on two processors."""
    settings = {"input_size": input_size, "batch_size": batch}
    config = training_config(backbone, settings, epochs)
    one, two, apart = [], [], []
    with tempfile.TemporaryDirectory() as temporary, cluster(None), ThreadPoolExecutor() as pool:
        with TERMINAL.bar("generating videos") as progress:
            whole = training_job(Path(temporary), config, batch * steps, progress)
        half = replace(
            whole,
            train=config.train.model_copy(update={"batch_size": batch // 2}),
            videos=whole.videos[: batch // 2 * steps],
        )
        rate = partial(_rate, config=config, folder=Path(temporary))
        with TERMINAL.bar("training") as progress:
            one.append(rate(whole, 1))
            for done in range(1, rounds + 1):
                two.append(rate(whole, 2))
                apart.append(sum(pool.map(rate, [half] * 2, [1] * 2)))
                one.append(rate(whole, 1))
                progress(done, rounds)
    num_parameters = sum(value.numel() for value in ActionNetwork(whole.spec).parameters())
    report(
        "scaling",
        [
            figure("two workers over one", two, one, bound=None, unit="videos/s"),
            figure("two trainings over one", apart, one, bound=None, unit="videos/s"),
        ],
        Setting("cpu", "float32"),
        goal=GOAL,
        gradient_bytes=num_parameters * BYTES_OF_A_GRADIENT,
        backbone=backbone,
        **settings,
    )


def _rate(job: TrainingJob, workers: int, config: Config, folder: Path) -> float:
    """Train; return the videos a second of the median epoch."""
    compute = {"loader_processes": 0, "workers_per_stream": workers}
    checkpoint = fit_on_cluster(
        job,
        storage=tempfile.mkdtemp(dir=folder),
        compute=config.compute.model_copy(update=compute),
        decode_seconds=config.data.decode_deadline_seconds,
        on_epoch=lambda metrics: None,
    )
    history = read_json(Path(checkpoint.path) / PROGRESS_FILE)["history"]
    return float(np.median([epoch["videos_per_second"] for epoch in history[1:]]))


if __name__ == "__main__":
    run(main)
