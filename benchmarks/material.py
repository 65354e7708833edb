"""What the benchmarks work on: generated videos, the paper's networks and losses."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.video.stream import VideoStream

from stpa.config import Config, SyntheticConfig
from stpa.data.datasets.synthetic_clip import APPEARANCES, MOTIONS, write_script
from stpa.data.datasets.synthetic_scene import draw_clip
from stpa.data.features import FeatureSource, write_features
from stpa.data.manifest import Video
from stpa.data.storage import Folder
from stpa.evaluation.features import Views, compute_features
from stpa.evaluation.k_sweep import Sweep
from stpa.models.network import ActionNetwork, NetworkSpec
from stpa.optical_flow.extract import extract_video
from stpa.params import check_params, read_params
from stpa.presets import preset_path
from stpa.progress import ReportProgress, silent
from stpa.shapes import UInt8
from stpa.streams import RGB, Stream
from stpa.training.job import TrainingJob

WIDTH, HEIGHT, FRAMES_PER_SECOND = 320, 240, 25
"""As UCF101's videos."""

BIT_RATE = 400_000
"""Bits a second; UCF101's videos spend 2 KB on a frame."""

GRAIN = 4
"""Standard deviation, levels of 255."""

NUM_CLASSES = 101

NUM_TRAINING_VIDEOS, TRAINING_SECONDS = 16, 4

_KEY = "of one job"

PARAMS = preset_path("standard")

PRINTED_WEIGHT = 1e-4
"""beta and gamma of eq. 9."""

AS_PRINTED = {
    "scale_fusion": "product",
    "map_norm": "l2",
    "score_norm": "none",
    "aggregate": "maps",
    "interactive_loss": "paper",
    "interactive_weight": PRINTED_WEIGHT,
    "attention_loss": "paper",
    "attention_weight": PRINTED_WEIGHT,
}
"""Options of the head stpa."""


def network_spec(backbone: str, input_size: int, stream: Stream = RGB) -> NetworkSpec:
    """Describe the paper's network on any backbone."""
    return NetworkSpec(
        stream=stream,
        head="stpa",
        head_options=AS_PRINTED,
        backbone=backbone,
        backbone_options={},
        top_layer="C",
        num_scales=3,
        downsampling="max",
        flow_stem="mean",
        dropout=0.5,
        class_names=tuple(f"class {index}" for index in range(NUM_CLASSES)),
        multi_label=False,
        input_size=input_size,
        short_side=input_size * 8 // 7,  # 256 for 224, as in TSN
        input_mean=(127.5, 127.5, 127.5),
        input_std=(127.5, 127.5, 127.5),
    )


def make_videos(
    folder: Path, num_videos: int, seconds: int, stream: str, progress: ReportProgress
) -> list[Video]:
    """Write videos, and for stream "flow" their optical flow, each to `files_of` its stream."""
    videos = []
    for index in range(num_videos):
        videos.append(_make_video(folder, index, seconds * FRAMES_PER_SECOND))
        if stream == "flow":
            _extract_flow(folder, videos[-1])
        progress(len(videos), num_videos)
    return videos


def training_config(backbone: str, settings: Mapping[str, Any], epochs: int = 1) -> Config:
    """Return params.yaml with random weights, and `settings` of its train section."""
    params = read_params(PARAMS)
    params["optical_flow"]["estimator"] = "dis"
    params["model"] |= {"backbone": backbone, "pretrained": False}
    params["train"] |= {"warm_start": "none", **settings}
    params["evaluate"]["late_fusion"] = "average_logits"
    params["promotion"]["candidate"] = "stpa"
    params["train"]["streams"]["rgb"]["epochs"] = epochs
    return check_params(params, PARAMS)


def training_job(
    folder: Path, config: Config, num_clips: int, progress: ReportProgress
) -> TrainingJob:
    """Write a few videos, and have each epoch read `num_clips` RGB clips of them."""
    made = make_videos(folder, NUM_TRAINING_VIDEOS, TRAINING_SECONDS, "rgb", progress)
    return TrainingJob(
        stream=RGB,
        head="stpa",
        model=config.model,
        train=config.train,
        class_names=(*made[0].labels, *(f"class {index}" for index in range(1, NUM_CLASSES))),
        multi_label=False,
        videos=tuple(islice(cycle(made), num_clips)),
        storage=Folder(files_of(folder, "rgb")),
    )


def with_features(
    job: TrainingJob,
    folder: Path,
    views: Views,
    sweep: Sweep,
    progress: ReportProgress = silent,
    device: str = "cpu",
) -> TrainingJob:
    """Store in `folder` what the job's backbone makes of its videos; return the job with these."""
    torch.manual_seed(job.train.seed)
    network = ActionNetwork(job.spec, job.model.pretrained).eval().to(device)
    videos = set(job.videos)
    for done, video in enumerate(videos, start=1):
        found = compute_features(network, video, job.storage, sweep, views)
        write_features(folder / video.feature_path, *found, _KEY)
        progress(done, len(videos))
    keys = {video.video_id: _KEY for video in videos}
    return replace(job, features=FeatureSource(Folder(folder), views.number, keys))


def files_of(folder: Path, stream: str) -> Path:
    """Return where the files are that a network of `stream` reads."""
    return folder / stream


def draw_frames(
    clip: int, num_frames: int, width: int = WIDTH, height: int = HEIGHT
) -> UInt8[np.ndarray, "time height width 3"]:
    """Draw a moving picture, wider than high, as Y, Cb, Cr."""
    settings = SyntheticConfig.model_validate(
        read_params(preset_path("demo"))["data"]["synthetic"]
        | {"num_frames": num_frames, "size_px": width}
    )
    script = write_script(settings, next(iter(APPEARANCES)), MOTIONS[0], group=1, clip=clip)
    return draw_clip(script, settings)[:, :height]


def add_grain(
    frames: UInt8[np.ndarray, "time height width 3"],
) -> UInt8[np.ndarray, "time height width 3"]:
    """Add a camera's noise: a drawn picture alone costs no bits."""
    grain = np.random.default_rng(0).normal(0, GRAIN, frames.shape)
    return (frames + grain).clip(0, 255).astype(np.uint8)


def encode(
    path: Path,
    frames: UInt8[np.ndarray, "time height width 3"],
    *,
    codec: str,
    gop: int,
    bit_rate: int,
) -> None:
    """Write frames, given as Y, Cb, Cr, with a key frame at least every `gop`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FRAMES_PER_SECOND, options={"g": str(gop)})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.bit_rate = "yuv420p", bit_rate
        for planes in frames.transpose(0, 3, 1, 2):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(planes), format="yuv444p")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _make_video(folder: Path, index: int, num_frames: int) -> Video:
    path = files_of(folder, "rgb") / f"video{index}.avi"
    path.parent.mkdir(exist_ok=True)
    encode(path, draw_frames(index, num_frames), codec="mpeg4", gop=12, bit_rate=BIT_RATE)
    return Video(
        video_id=path.stem,
        path=path.name,
        labels=("generated",),
        intervals=(),
        group="1",
        split="test",
        num_frames=num_frames,
        fps=FRAMES_PER_SECOND,
        width=WIDTH,
        height=HEIGHT,
        sha256="",
        status="ok",
        reason="",
    )


def _extract_flow(folder: Path, video: Video) -> None:
    output = files_of(folder, "flow") / f"{video.video_id}.avi"
    output.parent.mkdir(exist_ok=True)
    extract_video(
        files_of(folder, "rgb") / video.path,
        output,
        estimator="dis",
        options={},
        bound_px=20,
        width=340,
        height=256,
        num_frames=video.num_frames,
        source_sha256=video.sha256,
    )
