"""Two hundred damaged videos: each is read to its end or quarantined, and none ends the run."""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from torch.utils.data import BatchSampler, SequentialSampler

from stpa.data.clips import ClipReader, TrainClips
from stpa.data.crops import CropSource
from stpa.data.loader import ClipLoader
from stpa.data.manifest import Manifest
from stpa.data.storage import Folder
from stpa.optical_flow.extract import extract_video
from stpa.params import load_config
from stpa.stages.ingest import ingest
from stpa.streams import RGB
from stpa.workspace import Workspace
from tests.workspaces import CLASSES, make_workspace, small_params

NUM_DAMAGED = 200
GOOD = {".avi": "mpeg4", ".mp4": "libx264", ".mkv": "libvpx-vp9", ".mov": "mjpeg"}
NAMES = [
    "a..b", "new\nline", "tab\t", '"quoted"', "it's", "-rf", "$(touch hacked)", "%s%n", "a;b",
    "a,b", "ümläut", "名", "\u202eiva", "x" * 200, "#", "~", "*", "C:\\x", "<b>", "{0}", "&amp;",
]  # fmt: skip
"""Stems that some program or other takes for something else."""

Damage = Callable[[bytes, bytes, random.Random], bytes]
"""(a video, another one, what to draw from) -> what is left of the first."""


def truncate(video: bytes, other: bytes, rng: random.Random) -> bytes:
    return video[: rng.randrange(len(video))]


def flip_bits(video: bytes, other: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(video)
    for _ in range(rng.choice([1, 10, 100, 1000])):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def zero_block(video: bytes, other: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(video))
    length = min(rng.choice([16, 512, 4096]), len(video) - start)
    return video[:start] + bytes(length) + video[start + length :]


def swap_container(video: bytes, other: bytes, rng: random.Random) -> bytes:
    """Begin as one file and go on as another."""
    cut = rng.randrange(64, 4096)
    return video[:cut] + other[cut:]


def only_rename(video: bytes, other: bytes, rng: random.Random) -> bytes:
    return video


DAMAGES: list[Damage] = [truncate, flip_bits, zero_block, swap_container, only_rename]


def write_good(path: Path, seed: int) -> Path:
    """Write a moving texture by the codec that goes with the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(GOOD[path.suffix], rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if path.suffix == ".mov" else "yuv420p"
        for step in range(20):
            frame = av.VideoFrame.from_ndarray(np.roll(image, step, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_damaged(source: Path, folder: Path) -> None:
    """Write good videos of each class and recording, and damaged ones made from them."""
    good = [
        write_good(source / label / f"v_g{group:02}_c{index}{suffix}", seed=10 * group + index)
        for label in CLASSES
        for group in range(4)
        for index, suffix in enumerate(GOOD)
    ]
    contents = [path.read_bytes() for path in good]
    rng = random.Random(0)
    for index in range(NUM_DAMAGED):
        video, other = rng.sample(contents, 2)
        damaged = DAMAGES[index % len(DAMAGES)](video, other, rng)
        suffix = rng.choice([*GOOD, ".WMV", ".ts", ".mpg", ".webm"])
        name = f"{NAMES[index % len(NAMES)]}_g{index % 4:02}_c{index}{suffix}"
        (source / CLASSES[index % 2] / name).write_bytes(damaged)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("damaged")
    write_damaged(root / "source", root)
    params = small_params(
        data={
            "dataset": "folder",
            "num_folds": 2,
            "max_quarantined": 1.0,
            "decode_deadline_seconds": 20,
        }
    )
    return make_workspace(root / "workspace", params)


@pytest.fixture(scope="module")
def manifest(workspace: Workspace) -> Manifest:
    config = load_config(workspace.params)
    return ingest(workspace, config, workspace.root.parent / "source").manifest


def test_each_is_usable_or_has_its_reason(workspace: Workspace, manifest: Manifest) -> None:
    num_good = len(CLASSES) * 4 * len(GOOD)
    assert len(manifest.videos) == num_good + NUM_DAMAGED
    by_status = Counter(video.status for video in manifest.videos)
    for video in manifest.videos:
        assert bool(video.reason) == (video.status == "quarantined")
        assert "\n" not in video.reason
        if Path(video.path).name.startswith("v_g"):
            assert video.status == "ok", video
    assert by_status["quarantined"] > NUM_DAMAGED / 4, "the damage is real"
    assert by_status["ok"] > num_good + NUM_DAMAGED / 5, "what can be used is"


def test_nothing_is_written_but_in_the_workspace(workspace: Workspace, manifest: Manifest) -> None:
    assert {path.name for path in workspace.root.parent.iterdir()} == {"source", "workspace"}
    assert not list(workspace.root.rglob("hacked"))
    videos = workspace.videos.resolve()
    for video in manifest.videos:
        assert (videos / video.path).resolve().is_relative_to(videos)


def test_what_was_taken_is_read_by_training_and_by_the_optical_flow(
    workspace: Workspace, manifest: Manifest, tmp_path: Path
) -> None:
    videos = manifest.usable
    source = CropSource(
        ClipReader(RGB, Folder(workspace.videos), short_side=48),
        input_size=32,
        scales=(1.0,),
        horizontal_flip=False,
    )
    clips = TrainClips(videos, manifest.class_names, source, num_segments=3, seed=0)
    loader = ClipLoader(
        clips,
        batches=BatchSampler(SequentialSampler(clips), 16, drop_last=False),
        num_processes=2,
        decode_seconds=20.0,
        pin_memory=False,
    )
    read = [index for batch in loader for index in batch["index"].tolist()]
    assert read == list(range(len(videos)))
    for video in videos:
        extract_video(
            workspace.videos / video.path,
            tmp_path / video.flow_path,
            estimator="farneback",
            options={},
            bound_px=20.0,
            width=32,
            height=32,
            num_frames=video.num_frames,
            source_sha256=video.sha256,
        )
