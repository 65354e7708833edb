"""A whole training in this process: resumed after any epoch, it is as if undisturbed."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import DistributedSampler

from stpa.config import ModelConfig, Stream, StreamConfig, TrainConfig
from stpa.data.clips import TrainClips
from stpa.data.manifest import Video
from stpa.data.storage import Folder
from stpa.models.checkpoint import WEIGHTS_FILE, load_model
from stpa.models.network import ActionNetwork
from stpa.training.checkpoint import OPTIMIZER_FILE, PROGRESS_FILE
from stpa.training.fit import Place, TrainingJob, fit
from tests.workspaces import make_video, small_params, write_video

NUM_EPOCHS = 3
CLASS_NAMES = ("left", "right")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for index in range(4):
        write_video(root / f"{index}.avi", seed=index)
    return root


def make_job(root: Path, **changes: Any) -> TrainingJob:
    """Make a job in which all that is drawn at random matters."""
    params = small_params()
    rgb = params["train"]["rgb"] | {"epochs": NUM_EPOCHS, "dropout": 0.5}
    train = params["train"] | {"input_size": 32, "short_side": 40, "horizontal_flip": True}
    return TrainingJob(
        stream=Stream.RGB,
        head="stpa",
        model=ModelConfig(**params["model"]),
        train=TrainConfig(**(train | {"rgb": StreamConfig(**rgb)} | changes)),
        class_names=CLASS_NAMES,
        multi_label=False,
        videos=tuple(video(index) for index in range(4)),
        storage=Folder(root),
    )


def video(index: int) -> Video:
    return make_video(str(index), labels=(CLASS_NAMES[index % 2],))


def train(
    job: TrainingJob,
    output: Path,
    resume_from: Path | None = None,
    place: Place = Place(),  # noqa: B008
) -> list[Path]:
    """Fit, and return the checkpoint of each epoch."""
    checkpoints = []

    def keep(metrics: dict[str, float], write_checkpoint: Any) -> None:
        checkpoint = output / f"epoch {metrics['epoch']}"
        checkpoint.mkdir(parents=True)
        write_checkpoint(checkpoint)
        checkpoints.append(checkpoint)

    fit(job, place, on_epoch=keep, resume_from=resume_from)
    return checkpoints


def history(checkpoint: Path) -> list[dict[str, float]]:
    return json.loads((checkpoint / PROGRESS_FILE).read_text())["history"]


def assert_same_tensors(left: Path, right: Path) -> None:
    lefts, rights = load_file(left), load_file(right)
    assert lefts.keys() == rights.keys()
    different = [name for name, value in lefts.items() if not torch.equal(value, rights[name])]
    assert different == []


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_run_resumed_after_any_epoch_equals_an_undisturbed_one(root, tmp_path, optimizer):
    job = make_job(root, optimizer=optimizer)
    undisturbed = train(job, tmp_path / "undisturbed")
    assert [len(history(checkpoint)) for checkpoint in undisturbed] == [1, 2, 3]
    for num_done in range(1, NUM_EPOCHS):
        resumed = train(job, tmp_path / f"after {num_done}", undisturbed[num_done - 1])
        assert len(resumed) == NUM_EPOCHS - num_done
        for file in (WEIGHTS_FILE, OPTIMIZER_FILE):
            assert_same_tensors(resumed[-1] / file, undisturbed[-1] / file)
        losses = [[epoch["loss"] for epoch in history(run[-1])] for run in (resumed, undisturbed)]
        assert losses[0] == losses[1]


def test_every_epoch_draws_its_own_clips_in_its_own_order(root, tmp_path, monkeypatch):
    drawn = []
    for kind in (TrainClips, DistributedSampler):
        monkeypatch.setattr(kind, "set_epoch", lambda _self, epoch: drawn.append(epoch))
    train(make_job(root), tmp_path)
    assert drawn == [0, 0, 1, 1, 2, 2]


def test_a_finished_run_trains_no_further(root, tmp_path):
    job = make_job(root)
    assert train(job, tmp_path / "again", train(job, tmp_path / "first")[-1]) == []


def test_a_checkpoint_is_a_model_folder_and_holds_no_pickle(root, tmp_path):
    checkpoint = train(make_job(root), tmp_path)[-1]
    assert load_model(checkpoint).spec.class_names == CLASS_NAMES
    for path in checkpoint.iterdir():
        if path.suffix == ".json":
            json.loads(path.read_text())
        else:
            load_file(path)


def test_what_only_attention_uses_changes_no_weight_of_the_baseline(root, tmp_path):
    job = replace(make_job(root), head="tsn")
    expected = weights_by_layer(train(job, tmp_path / "expected")[-1])
    ablations = [
        {"top_layer": "A", "num_scales": 1, "fusion": "sum"},
        {"top_layer": "FC", "num_scales": 1, "downsampling": "convolution", "map_norm": "l1"},
    ]
    for index, ablation in enumerate(ablations):
        model, losses = job.model.model_copy(update=ablation), {"attention_weight": 1.0}
        other = replace(job, model=model, train=job.train.model_copy(update=losses))
        found = weights_by_layer(train(other, tmp_path / str(index))[-1])
        assert found.keys() == expected.keys()
        assert [name for name in found if not torch.equal(found[name], expected[name])] == []


def weights_by_layer(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Read the weights by the CNN's own names, wherever it is cut."""
    cut = re.compile(r"^backbone\.(pyramid\.cnn|pyramid|tail)\.")
    return {cut.sub("", name): w for name, w in load_file(checkpoint / WEIGHTS_FILE).items()}


@pytest.mark.parametrize(
    ("stated", "mean", "std"),
    [
        ({}, (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
        ({"input_std": [1.0, 2.0, 3.0]}, (127.5, 127.5, 127.5), (1, 2, 3)),
        ({"input_mean": [1.0, 2.0, 3.0]}, (1, 2, 3), (127.5, 127.5, 127.5)),
    ],
)
def test_input_is_normalised_as_stated_or_as_the_backbone_s_weights_expect(root, stated, mean, std):
    job = make_job(root)
    model = job.model.model_copy(update={"backbone": "inception_resnet_v2", **stated})
    spec = replace(job, model=model).spec
    assert (spec.input_mean, spec.input_std) == (mean, std)


def test_training_moves_the_weights_but_not_frozen_batch_norms(root, tmp_path):
    job = make_job(root, freeze_batch_norm="all")
    checkpoint = train(job, tmp_path)[-1]
    torch.manual_seed(job.train.seed)
    before = ActionNetwork(job.spec).state_dict()
    after = load_file(checkpoint / WEIGHTS_FILE)
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    norms = {name for name in before if ".bn" in name and name.startswith("backbone.")}
    assert len(norms) > 20
    assert moved & norms == set()
    assert "backbone.pyramid.conv_stem.weight" in moved


@pytest.mark.parametrize("crop_on_device", [False, True])
def test_clips_from_loader_processes_train_the_same_network(root, tmp_path, crop_on_device):
    job = make_job(root, crop_on_device=crop_on_device)
    alone = train(job, tmp_path / "alone")
    several = train(job, tmp_path / "several", place=Place(loader_processes=2))
    assert_same_tensors(alone[-1] / WEIGHTS_FILE, several[-1] / WEIGHTS_FILE)
