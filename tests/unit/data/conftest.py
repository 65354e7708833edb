"""Small real video files, and parameters to ingest them by."""

import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream

from stpa.config import DataConfig, DecodeConfig
from stpa.workspace import Workspace

WriteVideo = Callable[..., Path]
MakeConfig = Callable[..., DataConfig]


def make_limits(**changes) -> DecodeConfig:
    """Return limits for what is decoded; keywords replace their values."""
    values = {
        "decode_deadline_seconds": 20,
        "max_frames": 1000,
        "max_megapixels": 1,
        "decode_memory_gib": 2,
    }
    return DecodeConfig.model_validate(values | changes)


@pytest.fixture(scope="session")
def write_video() -> WriteVideo:
    """Write a video whose frame i is a gray of 4 i levels, with a bright square top left."""

    def write(
        path: Path,
        num_frames: int = 12,
        width: int = 64,
        height: int = 48,
        codec: str = "mpeg4",
        options: dict[str, str] | None = None,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream(
                codec, rate=25, options=options or {"qmin": "1", "qmax": "1"}
            )
            assert isinstance(stream, VideoStream)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for index in range(num_frames):
                image = np.full((height, width, 3), 4 * index, np.uint8)
                image[: height // 2, : width // 4] = 250
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        return path

    return write


@pytest.fixture(scope="module")
def master(request, tmp_path_factory, write_video) -> Path:
    """Give sound videos of 64 x 48, one for each of the module's NAMES, to copy."""
    folder = tmp_path_factory.mktemp("videos")
    for number, name in enumerate(request.module.NAMES):
        write_video(folder / name, num_frames=10 + number)
    return folder


@pytest.fixture
def source(master, tmp_path) -> Path:
    """Give a copy that a test may damage."""
    return Path(shutil.copytree(master, tmp_path / "source"))


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def make_config() -> MakeConfig:
    """Give a DataConfig; keywords replace its values."""

    def make(**changes) -> DataConfig:
        values = {
            "dataset": "folder",
            "source": None,
            "split": 1,
            "num_folds": 2,
            "group_pattern": r"_(g\d+)",
            "max_quarantined": 0.3,
            **make_limits().model_dump(),
            "transcode": None,
            "remote": "remote",
            "synthetic": None,
        }
        return DataConfig.model_validate(values | changes)

    return make
