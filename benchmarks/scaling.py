"""Videos a second of two workers over those of one, with a processor each, on a real Ray cluster.

Each trains the same network on the same clips, in turn, as `stpa train` does. What is compared is
the speed that epochs are logged with, but for the first, in which processes still start up.
"""

import json
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.material import training_config, training_job
from benchmarks.measure import BackboneOption, InputSizeOption, Setting, figure, report, run
from stpa.compute.tasks import cluster
from stpa.compute.train import fit_on_cluster
from stpa.models.checkpoint import load_model
from stpa.terminal import TERMINAL
from stpa.training.checkpoint import PROGRESS_FILE

BYTES_OF_A_GRADIENT = 4
"""Float32, whatever the precision of the network."""
GOAL = 1.8


def main(
    backbone: BackboneOption = "mobilenetv2_100",
    input_size: InputSizeOption = 224,
    batch: Annotated[int, typer.Option(min=2, help="Clips a step, of both workers.")] = 16,
    steps: Annotated[int, typer.Option(min=1, help="In an epoch.")] = 6,
    epochs: Annotated[int, typer.Option(min=2)] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="Trainings of each kind.")] = 3,
) -> None:
    """Train with one worker and with two, on two processors."""
    settings = {"input_size": input_size, "batch_size": batch}
    config = training_config(backbone, settings, epochs)
    compute = config.compute.model_copy(update={"loader_processes": 0})
    one, two, num_parameters = [], [], 0
    with tempfile.TemporaryDirectory() as temporary, cluster(None):
        with TERMINAL.bar("generating videos") as progress:
            job = training_job(Path(temporary), config, batch * steps, progress)
        with TERMINAL.bar("training") as progress:
            for turn in range(2 * rounds + 1):  # one, two, one, ..., one
                workers = 1 + turn % 2
                checkpoint = fit_on_cluster(
                    job,
                    storage=f"{temporary}/run {turn}",
                    compute=compute.model_copy(update={"workers_per_stream": workers}),
                    decode_seconds=config.data.decode_deadline_seconds,
                    on_epoch=lambda metrics: None,
                )
                history = json.loads((Path(checkpoint.path) / PROGRESS_FILE).read_text())["history"]
                rate = np.median([epoch["videos_per_second"] for epoch in history[1:]])
                (one, two)[workers - 1].append(float(rate))
                network = load_model(Path(checkpoint.path))
                num_parameters = sum(value.numel() for value in network.parameters())
                progress(turn + 1, 2 * rounds + 1)
    rates = figure("two workers over one", two, one, bound=None, unit="videos/s")
    report(
        "scaling",
        [rates],
        Setting("cpu", "float32"),
        goal=GOAL,
        gradient_bytes=num_parameters * BYTES_OF_A_GRADIENT,
        backbone=backbone,
        **settings,
    )


if __name__ == "__main__":
    run(main)
