"""A whole training in this process: resumed after any epoch, it is as if undisturbed."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.material import with_features
from stpa.config import ModelConfig, StreamConfig, TrainConfig
from stpa.data.clips import TrainClips
from stpa.data.manifest import Video
from stpa.data.step_sampler import StepSampler
from stpa.data.storage import Folder
from stpa.errors import InterruptedTrainingError
from stpa.evaluation.features import Views
from stpa.evaluation.k_sweep import Sweep, sweep_video
from stpa.models.checkpoint import WEIGHTS_FILE, load_model
from stpa.models.network import ActionNetwork
from stpa.streams import RGB
from stpa.training.agreement import Wish
from stpa.training.checkpoint import OPTIMIZER_FILE, PROGRESS_FILE
from stpa.training.fit import Place, fit
from stpa.training.job import PHOTOGRAPH_DEVIATION, TrainingJob
from tests.workspaces import make_video, small_params, write_video

NUM_EPOCHS = 3
CLASS_NAMES = ("left", "right")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_videos(tmp_path_factory.mktemp("videos"))


def write_videos(root: Path) -> Path:
    for index in range(4):
        write_video(root / f"{index}.avi", seed=index)
    return root


def make_job(root: Path, *, num_epochs: int = NUM_EPOCHS, **changes: Any) -> TrainingJob:
    """Make a job in which all that is drawn at random matters."""
    params = small_params()
    rgb = params["train"]["streams"]["rgb"] | {"epochs": num_epochs, "dropout": 0.5}
    train = params["train"] | {"input_size": 32, "short_side": 40, "horizontal_flip": True}
    return TrainingJob(
        stream=RGB,
        head="stpa",
        model=ModelConfig(**params["model"]),
        train=TrainConfig(**(train | {"streams": {"rgb": rgb, "flow": rgb}} | changes)),
        class_names=CLASS_NAMES,
        multi_label=False,
        videos=tuple(video(index) for index in range(4)),
        storage=Folder(root),
    )


def video(index: int) -> Video:
    return make_video(str(index), labels=(CLASS_NAMES[index % 2],))


class FolderHost:
    """Keeps every checkpoint, and asks to leave after a step."""

    def __init__(self, output: Path, leave_after: int | None = None) -> None:
        self.output, self.leave_after = output, leave_after
        self.checkpoints: list[Path] = []
        self.steps: list[tuple[int, int]] = []
        self.means: list[Mapping[str, float]] = []

    def after_step(self, done: int, total: int, means: Mapping[str, float]) -> Wish:
        self.steps.append((done, total))
        self.means.append(means)
        return Wish.LEAVE if done == self.leave_after else Wish.GO_ON

    def keep(self, metrics: dict[str, float] | None, write_checkpoint: Any) -> None:
        checkpoint = self.output / f"checkpoint {len(self.checkpoints)}"
        checkpoint.mkdir(parents=True)
        write_checkpoint(checkpoint)
        assert (metrics is None) == (read_progress(checkpoint)["step"] > 0)
        self.checkpoints.append(checkpoint)


def train(
    job: TrainingJob,
    output: Path,
    resume_from: Path | None = None,
    place: Place = Place(),  # noqa: B008
) -> list[Path]:
    """Fit, and return the checkpoints."""
    host = FolderHost(output)
    fit(job, place, host, resume_from=resume_from)
    return host.checkpoints


def read_progress(checkpoint: Path) -> dict[str, Any]:
    return json.loads((checkpoint / PROGRESS_FILE).read_text())


def losses(checkpoint: Path) -> list[float]:
    return [epoch["loss"] for epoch in read_progress(checkpoint)["history"]]


def assert_same_tensors(left: Path, right: Path) -> None:
    lefts, rights = load_file(left), load_file(right)
    assert lefts.keys() == rights.keys()
    different = [name for name, value in lefts.items() if not torch.equal(value, rights[name])]
    assert different == []


REGULARISED = {"average_decay": 0.5, "label_smoothing": 0.1, "mixup_alpha": 0.4}


@pytest.mark.parametrize("changes", [{"optimizer": "sgd"}, {"optimizer": "adamw", **REGULARISED}])
def test_a_run_resumed_after_any_step_equals_an_undisturbed_one(root, tmp_path, changes):
    job = make_job(root, **changes)
    undisturbed = train(job, tmp_path / "undisturbed", place=Place(checkpoint_steps=1))
    assert len(undisturbed) == 2 * NUM_EPOCHS
    for number, checkpoint in enumerate(undisturbed[:-1]):
        resumed = train(job, tmp_path / f"after {number}", checkpoint)
        for path in undisturbed[-1].glob("*.safetensors"):
            assert_same_tensors(resumed[-1] / path.name, path)
        assert losses(resumed[-1]) == losses(undisturbed[-1])


def test_asked_to_leave_it_does_with_a_checkpoint_to_go_on_from(root, tmp_path):
    job = make_job(root)
    undisturbed = train(job, tmp_path / "undisturbed")
    host = FolderHost(tmp_path / "left", leave_after=3)
    with pytest.raises(InterruptedTrainingError, match=r"after step 3 of 6: run it again"):
        fit(job, Place(), host)
    assert host.steps == [(1, 6), (2, 6), (3, 6)]
    resumed = train(job, tmp_path / "resumed", host.checkpoints[-1])
    assert_same_tensors(resumed[-1] / WEIGHTS_FILE, undisturbed[-1] / WEIGHTS_FILE)


def test_the_host_is_told_the_means_of_the_epoch_s_steps_but_for_the_last(root, tmp_path):
    host = FolderHost(tmp_path)
    fit(make_job(root, batch_size=1, num_epochs=2), Place(checkpoint_steps=1), host)
    # Totals of an epoch that goes on; the loss of a step by itself is their difference.
    totals = [read_progress(each)["totals"] for each in host.checkpoints]
    for step in (1, 2, 3):
        before = totals[step - 1]
        assert host.means[step]["loss"] == pytest.approx(before["loss"] / before["clips"])
        assert host.means[step]["top1"] == pytest.approx(before["top1"] / before["clips"])
    assert host.means[0] == host.means[4] == {}


def test_the_model_is_the_moving_average_of_the_weights(root, tmp_path):
    decay = 0.75
    job = make_job(root, average_decay=decay, schedule="step", warm_up=0.0)
    averaged = train(job, tmp_path / "averaged", place=Place(checkpoint_steps=1))
    plain = train(
        make_job(root, schedule="step", warm_up=0.0),
        tmp_path / "plain",
        place=Place(checkpoint_steps=1),
    )
    expected = load_file(plain[0] / WEIGHTS_FILE)
    for checkpoint in plain[1:]:
        for name, value in load_file(checkpoint / WEIGHTS_FILE).items():
            is_buffer = "running" in name or "num_batches" in name
            expected[name] = value if is_buffer else decay * expected[name] + (1 - decay) * value
    found = load_file(averaged[-1] / WEIGHTS_FILE)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_parts_of_a_batch_give_the_whole_ones_step(root, tmp_path, precision):
    settings = {"freeze_batch_norm": "all", "batch_size": 3, "optimizer": "sgd"}
    settings |= {"precision": precision, "horizontal_flip": False}
    whole, parts = (
        replace(job, train=job.train.model_copy(update={"streams": without_dropout(job)}))
        for job in (make_job(root, **settings), make_job(root, **settings, clips_at_once=2))
    )
    expected = load_file(train(whole, tmp_path / "whole")[-1] / WEIGHTS_FILE)
    found = load_file(train(parts, tmp_path / "parts")[-1] / WEIGHTS_FILE)
    tolerance = {"float32": 1e-5, "bfloat16": 1e-2}[precision]
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=tolerance, rtol=tolerance, msg=name)


def without_dropout(job: TrainingJob) -> dict[str, StreamConfig]:
    rgb = job.train.streams["rgb"].model_copy(update={"dropout": 0.0})
    return job.train.streams | {"rgb": rgb}


def test_every_epoch_draws_its_own_clips_in_its_own_order(root, tmp_path, monkeypatch):
    drawn = []
    set_epoch, start_at = TrainClips.set_epoch, StepSampler.start_at
    monkeypatch.setattr(
        TrainClips, "set_epoch", lambda self, epoch: (drawn.append(epoch), set_epoch(self, epoch))
    )
    monkeypatch.setattr(
        StepSampler,
        "start_at",
        lambda self, epoch, step: (drawn.append(epoch), start_at(self, epoch, step)),
    )
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


def test_where_the_network_is_cut_changes_no_weight_of_the_baseline(root, tmp_path):
    job = replace(make_job(root), head="tsn")
    expected = weights_by_layer(train(job, tmp_path / "expected")[-1])
    ablations = [
        {"top_layer": "A", "num_scales": 1},
        {"top_layer": "FC", "num_scales": 1, "downsampling": "convolution"},
    ]
    for index, ablation in enumerate(ablations):
        other = replace(job, model=job.model.model_copy(update=ablation))
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


@pytest.mark.parametrize(("flow_input", "scale"), [("measured", 0.1), ("as_rgb", 1.0)])
def test_measured_flow_is_scaled_where_the_trial_s_own_model_asks_for_it(root, flow_input, scale):
    job = replace(make_job(root), motion_deviation=0.1 * PHOTOGRAPH_DEVIATION)
    model = job.model.model_copy(update={"flow_input": flow_input})
    unscaled = replace(job, motion_deviation=None).spec.input_std
    assert replace(job, model=model).spec.input_std == pytest.approx(
        [each * scale for each in unscaled]
    )


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


@pytest.fixture
def frozen_job(root: Path, tmp_path: Path) -> TrainingJob:
    """Store features of the job's videos in two views."""
    job = make_job(root, stored_views=2, mixup_alpha=0.2)
    model = job.model.model_copy(update={"freeze": "backbone"})
    views = Views(2, (0.8,), horizontal_flip=True, seed=0)
    sweep = Sweep((3, 1), "exact")
    return with_features(replace(job, model=model), tmp_path / "features", views, sweep)


@pytest.mark.parametrize("loader_processes", [0, 2])
def test_on_features_the_head_alone_learns_and_resumes(frozen_job, tmp_path, loader_processes):
    place = Place(loader_processes=loader_processes)
    checkpoints = train(frozen_job, tmp_path / "whole", place=place)
    torch.manual_seed(frozen_job.train.seed)
    before = ActionNetwork(frozen_job.spec).state_dict()
    after = load_file(checkpoints[-1] / WEIGHTS_FILE)
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved == {name for name in before if name.startswith("head.")}
    resumed = train(frozen_job, tmp_path / "resumed", resume_from=checkpoints[0], place=place)
    assert_same_tensors(checkpoints[-1] / WEIGHTS_FILE, resumed[-1] / WEIGHTS_FILE)


def test_a_frozen_network_is_validated_on_its_features(frozen_job, tmp_path):
    job = replace(frozen_job, validation=frozen_job.videos[1:])
    history = read_progress(train(job, tmp_path / "run")[-1])["history"]
    assert all(0 <= epoch["validation/top1"] <= 1 for epoch in history)


@pytest.mark.parametrize("crop_on_device", [False, True])
def test_clips_from_loader_processes_train_the_same_network(root, tmp_path, crop_on_device):
    job = make_job(root, crop_on_device=crop_on_device)
    alone = train(job, tmp_path / "alone")
    several = train(job, tmp_path / "several", place=Place(loader_processes=2))
    assert_same_tensors(alone[-1] / WEIGHTS_FILE, several[-1] / WEIGHTS_FILE)


@pytest.mark.parametrize("loader_processes", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_validation_judges_each_epoch_as_a_test_would_and_changes_no_weight(
    root, tmp_path, loader_processes
):
    job = make_job(root)
    judged = replace(job, videos=job.videos[:2], validation=job.videos[1:])
    alone = train(replace(judged, validation=()), tmp_path / "alone")
    place = Place(loader_processes=loader_processes)
    validated = train(judged, tmp_path / "validated", place=place)
    for file in (WEIGHTS_FILE, OPTIMIZER_FILE):
        assert_same_tensors(alone[-1] / file, validated[-1] / file)
    assert "validation/top1" not in read_progress(alone[-1])["history"][-1]
    sweep = Sweep((job.train.num_segments,), "exact")
    for checkpoint, epoch in zip(validated, read_progress(validated[-1])["history"], strict=True):
        network = load_model(checkpoint)
        hits = [
            CLASS_NAMES[sweep_video(network, each, job.storage, sweep)[3].argmax()] in each.labels
            for each in judged.validation
        ]
        assert epoch["validation/top1"] == pytest.approx(sum(hits) / 3)


def warm_job(frozen_job: TrainingJob, **changes: Any) -> TrainingJob:
    """Make the training of the whole network that starts from the head of `frozen_job`."""
    model = frozen_job.model.model_copy(update={"freeze": "none"})
    train = frozen_job.train.model_copy(update=changes)
    return replace(frozen_job, model=model, train=train)


def test_a_warm_start_begins_with_the_head_that_learnt_from_features(frozen_job, tmp_path):
    still = frozen_job.train.streams["rgb"].model_copy(
        update={"learning_rate": 1e-12, "new_layer_rate": 4e9}
    )
    job = warm_job(
        frozen_job,
        streams={"rgb": still},
        warm_start_steps=12,
        freeze_batch_norm="all",
        weight_decay=0.0,
    )
    alone = load_file(train(job.of_head, tmp_path / "head")[-1] / WEIGHTS_FILE)
    warm = load_file(train(job, tmp_path / "warm")[-1] / WEIGHTS_FILE)
    moved = load_file(train(frozen_job, tmp_path / "as short")[-1] / WEIGHTS_FILE)
    for name in (name for name in warm if name.startswith("head.")):
        # `new_layer_rate` would have moved it, but the head is no longer new.
        torch.testing.assert_close(warm[name], alone[name], rtol=0, atol=1e-9)
        assert not torch.equal(warm[name], moved[name])  # of fewer steps


def test_the_head_ahead_of_a_network_is_followed_and_stopped_by_its_host(frozen_job, tmp_path):
    job = warm_job(frozen_job, warm_start_steps=12)
    total = job.num_epochs * job.steps_per_epoch
    ahead = job.of_head.num_epochs * job.of_head.steps_per_epoch
    host = FolderHost(tmp_path / "followed")
    fit(job, Place(), host)
    expected = [(0, total)] * ahead + [(step + 1, total) for step in range(total)]
    assert host.steps == expected
    asked = FolderHost(tmp_path / "asked", leave_after=0)
    with pytest.raises(InterruptedTrainingError):
        fit(job, Place(), asked)
    assert asked.steps == [(0, total)]
    assert asked.checkpoints == []


def test_a_warm_start_resumes_as_if_undisturbed(frozen_job, tmp_path):
    job = warm_job(frozen_job)
    assert job.starts_warm
    checkpoints = train(job, tmp_path / "whole")
    resumed = train(job, tmp_path / "resumed", resume_from=checkpoints[0])
    assert_same_tensors(resumed[-1] / WEIGHTS_FILE, checkpoints[-1] / WEIGHTS_FILE)
