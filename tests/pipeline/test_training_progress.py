"""What the workers of a training on a real Ray cluster tell while it goes on."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stpa.compute.tasks import cluster
from stpa.compute.train import fit_on_cluster
from stpa.config import ComputeConfig
from stpa.files import read_json
from stpa.stages.training_progress import TrainingProgress
from stpa.training.checkpoint import PROGRESS_FILE
from tests.unit.training.test_fit import make_job, write_videos
from tests.workspaces import small_params

# Of Ray's own code, when it first makes a ray.data context.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")

NUM_EPOCHS, STEPS_PER_EPOCH = 2, 60


def test_steps_and_epochs_arrive_with_their_means(tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.INFO, logger="stpa.stages.training_progress")
    job = make_job(
        write_videos(tmp_path / "videos"),
        num_epochs=NUM_EPOCHS,
        batch_size=1,
        min_steps_per_epoch=STEPS_PER_EPOCH,
    )
    reports: list[tuple[int, int, Mapping[str, str]]] = []
    told = TrainingProgress(job, lambda *report: reports.append(report))  # pyright: ignore[reportArgumentType]
    with cluster(None):
        checkpoint = fit_on_cluster(
            job,
            storage=str(tmp_path / "run"),
            compute=ComputeConfig(**small_params()["compute"]),
            decode_seconds=60.0,
            on_epoch=told.on_epoch,
            on_step=told.on_step,
        )
    steps = [done for done, _, _ in reports]
    assert steps == sorted(steps)
    assert {total for _, total, _ in reports} == {NUM_EPOCHS * STEPS_PER_EPOCH}
    # The first is told without means or pace; later ones have all.
    names = ["epoch", "step", "loss", "training accuracy", "clips/s", "time left"]
    done, _, last = reports[-1]
    assert list(last) == names
    assert last["epoch"] == f"{(done - 1) // STEPS_PER_EPOCH + 1}/{NUM_EPOCHS}"
    assert last["step"] == f"{(done - 1) % STEPS_PER_EPOCH + 1}/{STEPS_PER_EPOCH}"
    assert 0 <= float(last["training accuracy"]) <= 1

    history: Any = read_json(Path(checkpoint.path) / PROGRESS_FILE)["history"]
    lines = [line for line in caplog.messages if line.startswith("rgb stpa: epoch")]
    assert len(lines) == NUM_EPOCHS
    for line, epoch in zip(lines, history, strict=True):
        start = f"rgb stpa: epoch {epoch['epoch']} of {NUM_EPOCHS}: loss {epoch['loss']:.3f}, "
        assert line.startswith(f"{start}training accuracy {epoch['top1']:.2f}, ")
