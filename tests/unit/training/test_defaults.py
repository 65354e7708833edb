"""params.yaml as it is shipped trains 24 clips on features like pretrained ones."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from benchmarks.material import with_features
from stpa.data.clips import ClipReader
from stpa.data.manifest import Video
from stpa.data.motion_level import motion_deviation
from stpa.data.storage import Folder
from stpa.errors import ModelError
from stpa.evaluation.features import CENTRE
from stpa.evaluation.k_sweep import Sweep
from stpa.optical_flow.codec import quantise, write_flow_video
from stpa.params import check_params, read_params
from stpa.presets import preset_path
from stpa.streams import FLOW, RGB, Stream
from stpa.training.job import TrainingJob
from tests.unit.training.test_fit import read_progress, train
from tests.workspaces import make_video

BACKBONE = "mobilenetv3_small_050"
SIZE = 96
NUM_FRAMES = 12
CLIPS_PER_CLASS = 6
DIRECTIONS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}
"""x and y per frame; each class has a hue of its own too, so that either stream can tell it."""

OLD: dict[str, dict[str, Any]] = {
    "stpa": {
        "map_norm": "l2",
        "score_norm": "none",
        "aggregate": "maps",
        "interactive_loss": "paper",
        "attention_loss": "paper",
    },
    "model": {
        "top_layer": "C",
        "num_scales": 3,
        "flow_input": "as_rgb",
        "flow_stem": "mean",
    },
    "train": {
        "warm_start": "none",
        "optimizer": "sgd",
        "weight_decay": 0.0005,
        "freeze_batch_norm": "all_but_first",
        "min_steps_per_epoch": 1,
    },
    "evaluate": {"late_fusion": "average_logits"},
    "rgb": {"epochs": 30, "learning_rate": 0.005, "new_layer_rate": 5, "gradient_clip": 40},
    "flow": {"epochs": 60, "learning_rate": 0.01, "new_layer_rate": 5, "dropout": 0.7},
}
"""What params.yaml had before: every network then called all clips one class."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights whose batch norms know images, with features of the size that ImageNet's give."""
    torch.manual_seed(0)
    cnn = timm.create_model(BACKBONE, num_classes=0).train()
    norms = [module for module in cnn.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # statistics of all that it has seen
    with torch.no_grad():
        for _ in range(4):
            patches = torch.randn(8, 3, 6, 6)
            cnn(nn.functional.interpolate(patches, size=SIZE, mode="bicubic"))
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_file(cnn.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number, video in enumerate(videos()):
        write_rgb(folder / video.path, number)
        write_flow(folder / "flow" / video.flow_path, number)
    return folder


def videos() -> list[Video]:
    return [
        make_video(f"{label}-{number}", labels=(label,), num_frames=NUM_FRAMES)
        for label in DIRECTIONS
        for number in range(CLIPS_PER_CLASS)
    ]


def write_rgb(path: Path, number: int) -> None:
    """Write a noisy, coloured texture that stands still."""
    random = np.random.default_rng(number)
    hue = 180 * (number // CLIPS_PER_CLASS) / len(DIRECTIONS) + random.uniform(-8, 8)
    texture = cv2.resize(random.uniform(60, 255, (8, 8)), (SIZE, SIZE))
    hsv = np.stack([np.full_like(texture, hue % 180), np.full_like(texture, 110), texture], axis=-1)
    image = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = SIZE
        for _ in range(NUM_FRAMES):
            noise = random.normal(scale=6, size=image.shape)
            noisy = np.clip(image + noise, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noisy, format="rgb24")))
        container.mux(stream.encode())


def write_flow(path: Path, number: int) -> None:
    """Store the flow of a patch that moves by about 2 px, anywhere."""
    path.parent.mkdir(exist_ok=True)
    random = np.random.default_rng(100 + number)
    direction = list(DIRECTIONS.values())[number // CLIPS_PER_CLASS]
    flow = random.normal(scale=0.2, size=(NUM_FRAMES - 1, SIZE, SIZE, 2)).astype(np.float32)
    top, left = random.integers(SIZE // 2, size=2)
    flow[:, top : top + SIZE // 2, left : left + SIZE // 2] += 2 * np.array(direction)
    levels = quantise(flow.transpose(0, 3, 1, 2), bound_px=20.0)
    write_flow_video(path, levels, width=SIZE, height=SIZE, provenance={})


def make_job(root: Path, weights: Path, stream: Stream, head: str, **old: Any) -> TrainingJob:
    """Return the training of params.yaml on the clips, but for the network's and frames' size."""
    params = read_params(preset_path("standard"))
    params["optical_flow"]["estimator"] = "dis"  # "auto" is settled by the machine; none is used
    params["model"] |= {"backbone": BACKBONE, "pretrained": str(weights)} | old.get("model", {})
    params["train"] |= {"input_size": SIZE - 16, "short_side": SIZE} | old.get("train", {})
    params["evaluate"] |= old.get("evaluate", {})
    params["promotion"]["candidate"] = "stpa"
    params["model"]["heads"]["stpa"] |= old.get("stpa", {})
    for name in ("rgb", "flow"):
        params["train"]["streams"][name] |= old.get(name, {})
    config = check_params(params, Path("params.yaml"))
    storage = Folder(root if stream is RGB else root / "flow")
    job = TrainingJob(
        stream=stream,
        head=head,
        model=config.model,
        train=config.train,
        class_names=tuple(sorted(DIRECTIONS)),
        multi_label=False,
        videos=tuple(videos()),
        storage=storage,
        validation=tuple(videos()),
    )
    if stream is FLOW and config.model.flow_input == "measured":
        reader = ClipReader(stream, storage, config.train.short_side)
        job = replace(job, motion_deviation=motion_deviation(job.videos, reader))
    return job


def outcome(job: TrainingJob, output: Path) -> tuple[float, list[str]]:
    """Return the accuracy on the clips themselves, and the problems told, after a training."""
    last = read_progress(train(job, output)[-1])["history"][-1]
    return last["validation/top1"], [each.name for each in job.learning_check.after(last)]


@pytest.mark.parametrize(
    ("head", "stream"),
    [
        ("stpa", RGB),
        pytest.param("tsn", RGB, marks=pytest.mark.slow),
        pytest.param("stpa", FLOW, marks=pytest.mark.slow),
        pytest.param("tsn", FLOW, marks=pytest.mark.slow),
    ],
)
def test_the_shipped_settings_learn_24_clips(root, weights, tmp_path, head, stream):
    job = make_job(root, weights, stream, head)
    sweep = Sweep((NUM_FRAMES // 2,), "exact")
    job = with_features(job, tmp_path / "features", CENTRE, sweep)
    assert job.starts_warm
    accuracy, problems = outcome(job, tmp_path / "run")
    assert accuracy >= 0.9
    assert problems == []


@pytest.mark.parametrize("stream", [RGB, FLOW])
def test_the_settings_before_explode_and_were_warned_of(root, weights, tmp_path, stream):
    job = make_job(root, weights, stream, "stpa", **OLD)
    assert [each.name for each in job.learning_check.before()] == ["too_few_steps", "printed_loss"]
    with pytest.raises(ModelError, match="the loss is -"):  # l_interactive has no lower bound
        train(job, tmp_path)
