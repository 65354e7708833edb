"""How strong stored flow is, measured on the files."""

from pathlib import Path

import numpy as np
import pytest

from stpa.data.clips import ClipReader
from stpa.data.motion_level import motion_deviation
from stpa.data.storage import Folder
from stpa.optical_flow.codec import write_flow_video
from stpa.streams import FLOW
from tests.workspaces import make_video


def store(folder: Path, name: str, levels: int) -> None:
    """Store flow that is `levels` off no motion everywhere, to one side and the other."""
    frames = np.full((9, 2, 32, 32), 128, np.uint8)
    frames[:, 0] += np.uint8(levels)
    frames[:, 1] -= np.uint8(levels)
    write_flow_video(folder / f"{name}.avi", frames, width=32, height=32, provenance={})


@pytest.fixture
def reader(tmp_path: Path) -> ClipReader:
    return ClipReader(FLOW, Folder(tmp_path), short_side=32)


def test_it_is_the_root_mean_square_about_no_motion(tmp_path, reader):
    store(tmp_path, "slow", 10)
    store(tmp_path, "fast", 30)
    videos = [make_video(name, num_frames=10) for name in ("slow", "fast")]
    assert motion_deviation(videos, reader) == pytest.approx(((10**2 + 30**2) / 2) ** 0.5, rel=0.05)


def test_videos_in_which_nothing_moves_divide_by_no_zero(tmp_path, reader):
    store(tmp_path, "still", 0)
    assert motion_deviation([make_video("still", num_frames=10)], reader) == 1
