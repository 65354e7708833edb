"""Validation by several processes at once, and of videos with any number of labels."""

import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed

from stpa.training.agreement import Wish
from stpa.training.fit import Place, fit
from stpa.training.job import TrainingJob
from tests.unit.training.test_fit import make_job
from tests.workspaces import make_video, write_video

LABELS = [("left",), ("right",), ("left", "right"), (), ("left",)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for index in range(len(LABELS)):
        write_video(root / f"{index}.avi", seed=index)
    return root


def make_multi_label_job(root: Path) -> TrainingJob:
    videos = tuple(make_video(str(n), labels=labels) for n, labels in enumerate(LABELS))
    return replace(make_job(root), multi_label=True, videos=videos[:4], validation=videos)


def fit_and_keep(job: TrainingJob, place: Place, initialise: str | None, found: Any) -> None:
    torch.set_num_threads(1)
    if initialise:
        distributed.init_process_group(
            "gloo", init_method=initialise, rank=place.rank, world_size=place.world_size
        )

    class Host:
        def after_step(self, done: int, total: int, means: Any) -> Wish:
            return Wish.GO_ON

        def keep(self, metrics: dict[str, float] | None, write_checkpoint: Any) -> None:
            assert metrics is not None
            found.append((place.rank, metrics["epoch"], metrics["validation/map"]))

    fit(job, place, Host())


def test_videos_of_several_labels_are_judged_by_average_precision(root):
    found: list[tuple[int, float, float]] = []
    fit_and_keep(make_multi_label_job(root), Place(), None, found)
    assert [epoch for _, epoch, _ in found] == [1, 2, 3]
    # At the worst order of the four labelled ones, "left" is in places 2 to 4, "right" 3 and 4.
    assert all((1 / 2 + 2 / 3 + 3 / 4) / 3 / 2 + (1 / 3 + 2 / 4) / 4 <= f <= 1 for *_, f in found)


@pytest.mark.slow
def test_all_processes_have_the_figure_of_all_videos(root, tmp_path):
    job = make_multi_label_job(root)
    context = multiprocessing.get_context("spawn")
    found = context.Manager().list()
    address = f"file://{tmp_path / 'meeting'}"
    processes = [
        context.Process(target=fit_and_keep, args=(job, Place(rank, 2), address, found))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    by_rank = [[each[1:] for each in found if each[0] == rank] for rank in range(2)]
    assert by_rank[0] == by_rank[1]
    assert len(by_rank[0]) == 3
