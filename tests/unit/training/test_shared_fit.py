"""Processes that share a training take the steps that one alone would take."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import distributed
from torch.multiprocessing.spawn import spawn

from stpa.errors import InterruptedTrainingError
from stpa.models.checkpoint import WEIGHTS_FILE
from stpa.training.agreement import Agreement, Wish
from stpa.training.fit import Place, fit
from stpa.training.job import TrainingJob
from tests.unit.training.test_fit import (
    FolderHost,
    assert_same_tensors,
    losses,
    make_job,
    train,
    without_dropout,
    write_videos,
)

WORLD_SIZE = 2
SETTINGS = {"batch_size": 3, "freeze_batch_norm": "all", "horizontal_flip": False}
"""Three clips and then one, of which one process has none; and nothing that each has alone."""
PARTS = {"whole shares": None, "clip by clip": 1}
WISHES = [Wish.GO_ON, Wish.CHECKPOINT, Wish.GO_ON, Wish.LEAVE, Wish.GO_ON]
"""Of rank 1."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def shared(root, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that is done together, in one start of the processes."""
    folder = tmp_path_factory.mktemp("shared")
    jobs = {name: shared_job(root, name) for name in PARTS}
    spawn(_work_together, (folder, jobs), nprocs=WORLD_SIZE)
    return folder


def shared_job(root: Path, name: str) -> TrainingJob:
    job = make_job(root, **SETTINGS, clips_at_once=PARTS[name])
    return replace(job, train=job.train.model_copy(update={"streams": without_dropout(job)}))


def _work_together(rank: int, folder: Path, jobs: dict[str, TrainingJob]) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=WORLD_SIZE
    )
    place = Place(rank=rank, world_size=WORLD_SIZE, checkpoint_steps=3)
    for name, job in jobs.items():
        train(job, folder / name / f"rank {rank}", place=place)
    # From the end of an epoch's last step, where its metrics are yet to be summed up.
    host = FolderHost(folder / "left" / f"rank {rank}", leave_after=3)
    whole = jobs["whole shares"]
    with pytest.raises(InterruptedTrainingError):
        fit(whole, place, host)
    train(whole, folder / "resumed" / f"rank {rank}", host.checkpoints[-1], place)
    agreement = Agreement(WORLD_SIZE)
    heard = [agreement.reach(wish if rank == 1 else Wish.GO_ON) for wish in WISHES]
    (folder / f"heard {rank}").write_text(" ".join(wish.name for wish in heard))
    distributed.destroy_process_group()


@pytest.mark.parametrize("name", PARTS)
def test_two_processes_train_what_one_does_and_it_goes_on_from_them(root, shared, tmp_path, name):
    job = shared_job(root, name)
    alone = train(job, tmp_path / "alone", place=Place(checkpoint_steps=3))
    together = sorted((shared / name / "rank 0").iterdir())
    assert len(together) == len(alone) == 4
    assert losses(together[-1]) == pytest.approx(losses(alone[-1]), rel=1e-4)
    fewer = train(job, tmp_path / "fewer", together[1])
    for checkpoint in (together[-1], fewer[-1]):
        for layer, value in load_file(alone[-1] / WEIGHTS_FILE).items():
            found = load_file(checkpoint / WEIGHTS_FILE)[layer]
            torch.testing.assert_close(found, value, atol=1e-4, rtol=1e-3, msg=layer)


def test_two_processes_go_on_from_the_last_step_of_an_epoch(shared):
    resumed, undisturbed = (
        sorted((shared / name / "rank 0").iterdir())[-1] for name in ("resumed", "whole shares")
    )
    assert_same_tensors(resumed / WEIGHTS_FILE, undisturbed / WEIGHTS_FILE)
    assert losses(resumed) == pytest.approx(losses(undisturbed))


@pytest.mark.parametrize("rank", range(WORLD_SIZE))
def test_all_hear_one_s_wish_one_step_later(shared, rank):
    heard = (shared / f"heard {rank}").read_text().split()
    assert heard == ["GO_ON", *(wish.name for wish in WISHES[:-1])]
