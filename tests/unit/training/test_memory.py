"""How many clips go at once: as many as fit, fewer where memory runs out, and the same results."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from stpa.errors import ModelError
from stpa.models.checkpoint import WEIGHTS_FILE
from stpa.models.network import ActionNetwork
from stpa.training import memory as module
from stpa.training.fit import Place, fit
from stpa.training.job import TrainingJob
from stpa.training.memory import StepMemory, clips_that_fit, measure_memory, stated_clips
from tests.unit.training.test_fit import (
    FolderHost,
    make_job,
    read_progress,
    train,
    without_dropout,
    write_videos,
)

FROZEN: dict[str, Any] = {"freeze_batch_norm": "all"}
MEMORY = StepMemory(fixed=100, per_clip=10)
FAR_TOO_MUCH = 2**60
"""Elements that no machine has room for."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_videos(tmp_path_factory.mktemp("videos"))


def job_of_four(root: Path, **changes: Any) -> TrainingJob:
    """Make a job whose result does not depend on which clips share a part."""
    settings = FROZEN | {"batch_size": 4, "optimizer": "sgd", "min_steps_per_epoch": 3}
    job = make_job(root, num_epochs=1, **(settings | changes))
    return replace(job, train=job.train.model_copy(update={"streams": without_dropout(job)}))


@pytest.fixture
def lack_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Return a function that makes passes of more than so many clips run out of memory, but for the
    first ones.
    """

    def lack(most_clips: int, num_first: int) -> None:
        forward, num_passes = ActionNetwork.forward, 0

        def run_out(self: ActionNetwork, clips: torch.Tensor, **options: Any) -> Any:
            nonlocal num_passes
            num_passes += 1
            if len(clips) > most_clips and num_passes > num_first:
                torch.empty(FAR_TOO_MUCH)
            return forward(self, clips, **options)

        monkeypatch.setattr(ActionNetwork, "forward", run_out)

    return lack


def weights(checkpoints: list[Path]) -> dict[str, torch.Tensor]:
    return load_file(checkpoints[-1] / WEIGHTS_FILE)


@pytest.mark.parametrize(
    ("useful_frames", "num_first"),
    [(12, 1), (12, 2), (6, 4)],
    ids=["the first step", "a later step", "the second part of a step"],
)
def test_a_worker_that_runs_out_of_memory_goes_on_with_half_and_the_same_result(
    root, tmp_path, lack_memory, monkeypatch, useful_frames, num_first
):
    expected = weights(train(job_of_four(root, clips_at_once=4), tmp_path / "whole"))
    monkeypatch.setattr(module, "USEFUL_FRAMES", useful_frames)
    lack_memory(1, num_first)  # one of them is the measurement's
    checkpoints = train(job_of_four(root, clips_at_once="auto"), tmp_path / "parts")
    assert read_progress(checkpoints[-1])["history"][-1]["clips_at_once"] == 1
    found = weights(checkpoints)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.parametrize(
    ("changes", "most_clips", "advice"),
    [
        ({"clips_at_once": "auto"}, 0, "1 clip(s) of 3 frames at once: lower train.input_size"),
        ({"clips_at_once": 2}, 1, "2 clip(s) of 3 frames at once: set train.clips_at_once below"),
        (
            {"clips_at_once": "auto", "freeze_batch_norm": "none"},
            1,
            "4 clip(s) of 3 frames at once: set train.clips_at_once below",
        ),
    ],
    ids=["one clip is too many", "a stated number", "batch norms that learn"],
)
def test_what_halving_cannot_help_is_told_with_what_to_do(
    root, tmp_path, lack_memory, changes, most_clips, advice
):
    lack_memory(most_clips, 1)
    with pytest.raises(ModelError) as raised:
        train(job_of_four(root, **changes), tmp_path / "out")
    assert str(raised.value).startswith(f"cpu lacks the memory for {advice}")


def test_an_optimizer_that_runs_out_of_memory_repeats_no_step(root, tmp_path, monkeypatch):
    def run_out(*_args: Any) -> None:
        torch.empty(FAR_TOO_MUCH)

    monkeypatch.setattr("torch.optim.AdamW.step", run_out)
    with pytest.raises(ModelError, match="memory is short of what the optimizer keeps"):
        train(job_of_four(root, clips_at_once="auto", optimizer="adamw"), tmp_path)


@pytest.mark.parametrize(
    ("free", "device", "expected"),
    [
        (10_000, "cuda", 32),  # no more than there are
        (300, "cuda", 14),  # (0.8 * 300 - 100) / 10
        (300, "cpu", 4),  # as many as are of use, 12 frames
        (260, "cpu", 3),
        (110, "cpu", 1),  # within what is free, though not within the planned share
    ],
)
def test_as_many_clips_go_at_once_as_fit(free, device, expected):
    job = make_job(Path(), **FROZEN, clips_at_once="auto", num_segments=3)
    assert clips_that_fit(job, MEMORY, free, 32, device) == expected


def test_batch_norms_that_learn_take_the_whole_share_or_none():
    job = make_job(Path(), freeze_batch_norm="none", clips_at_once="auto")
    assert clips_that_fit(job, MEMORY, 420, 32, "cpu") == 32
    with pytest.raises(ModelError, match=r"the 32 clips of a step need about .* are free: set"):
        clips_that_fit(job, MEMORY, 419, 32, "cpu")


def test_one_clip_that_does_not_fit_is_refused_before_the_training_starts(
    root, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "free_memory", lambda device: 1_000_000)
    host = FolderHost(tmp_path)
    with pytest.raises(ModelError, match=r"one clip at once needs about .*, and 0.0 GB are free"):
        fit(job_of_four(root, clips_at_once="auto"), Place(memory_share=0.25), host)
    assert host.steps == []


@pytest.mark.parametrize(("stated", "expected"), [(None, 8), (3, 3), (99, 8), ("auto", None)])
def test_a_stated_number_counts_up_to_all_clips(stated, expected):
    assert stated_clips(make_job(Path(), **FROZEN, clips_at_once=stated), 8) == expected


class TestMeasuring:
    def test_a_clip_takes_what_a_step_keeps_of_each_further_one(self):
        """Counted by hand: what autograd saves for 4 clips, less what it saves for 3."""
        job = make_job(Path(), **FROZEN)
        network = ActionNetwork(job.spec)
        measured = measure_memory(job, network).per_clip / module.STEP_OVER_FORWARD
        assert measured == pytest.approx(saved_bytes(network, 4) - saved_bytes(network, 3), rel=0.1)

    def test_chunks_of_frames_take_less(self):
        whole, chunked = (
            measure_memory(job, ActionNetwork(job.spec)).per_clip
            for job in (
                make_job(Path(), **FROZEN, num_segments=6, frames_at_once=frames)
                for frames in (None, 2)
            )
        )
        assert chunked == pytest.approx(whole / 3, rel=0.1)

    def test_it_changes_nothing_of_the_network(self):
        job = make_job(Path(), freeze_batch_norm="none")
        network = ActionNetwork(job.spec)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        measure_memory(job, network)
        after = network.state_dict()
        assert all(torch.equal(value, after[name]) for name, value in before.items())


def saved_bytes(network: ActionNetwork, num_clips: int) -> int:
    saved: dict[int, torch.UntypedStorage] = {}
    size = (num_clips, 3, 3, network.spec.input_size, network.spec.input_size)

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = network(torch.zeros(size, dtype=torch.uint8))
    del output
    return sum(storage.nbytes() for storage in saved.values())
