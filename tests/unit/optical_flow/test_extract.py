import errno
import hashlib
import os
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from stpa.data.decode import read_flow_stacks
from stpa.errors import DataError
from stpa.optical_flow import extract
from stpa.optical_flow.codec import dequantise, read_provenance
from stpa.optical_flow.extract import extract_video, provenance

NUM_FRAMES, WIDTH, HEIGHT = 6, 128, 96


def settings(**changes: Any) -> dict[str, Any]:
    return {
        "estimator": "dis",
        "options": {},
        "bound_px": 20.0,
        "width": 64,
        "height": 48,
        "num_frames": NUM_FRAMES,
        "source_sha256": "aa",
    } | changes


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A texture that moves 4 px to the right and 2 px down a frame."""
    noise = np.random.default_rng(0).uniform(0, 255, (HEIGHT, WIDTH)).astype(np.float32)
    texture = cv2.GaussianBlur(noise, (0, 0), 5)
    texture = (255 * (texture - texture.min()) / np.ptp(texture)).astype(np.uint8)
    path = tmp_path / "moving ünd.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(25))
        stream.width, stream.height, stream.bit_rate = WIDTH, HEIGHT, 4_000_000
        for step in range(NUM_FRAMES):
            image = np.roll(texture, (2 * step, 4 * step), axis=(0, 1))
            frame = av.VideoFrame.from_ndarray(np.stack([image] * 3, axis=-1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_n_frames_give_n_minus_1_flows_in_px_of_the_resized_frame(video, tmp_path):
    output = tmp_path / "flow" / "deep" / "clip.avi"
    extract_video(video, output, **settings())
    levels = read_flow_stacks(output, range(NUM_FRAMES - 1), 1)
    assert levels.shape == (NUM_FRAMES - 1, 2, 48, 64)
    with av.open(str(output)) as container:
        assert container.streams.video[0].frames == NUM_FRAMES - 1
    flow = dequantise(levels, 20.0)[:, :, 12:-12, 16:-16]
    assert np.median(flow[:, 0]) == pytest.approx(2, abs=0.3)
    assert np.median(flow[:, 1]) == pytest.approx(1, abs=0.3)


def test_frames_past_the_manifests_count_are_not_read(video, tmp_path):
    output = tmp_path / "clip.avi"
    extract_video(video, output, **settings(num_frames=3))
    with av.open(str(output)) as container:
        assert container.streams.video[0].frames == 2


def test_the_same_file_and_settings_are_not_extracted_again(video, tmp_path, monkeypatch):
    output = tmp_path / "clip.avi"
    extract_video(video, output, **settings())
    monkeypatch.setattr(extract, "decode_video", lambda path: pytest.fail("decoded again"))
    extract_video(video, output, **settings())


@pytest.mark.parametrize(
    "change",
    [
        {"estimator": "farneback"},
        {"estimator": "tvl1"},
        {"bound_px": 10.0},
        {"width": 80},
        {"height": 64},
        {"num_frames": 5},
        {"source_sha256": "bb"},
    ],
)
def test_another_file_or_setting_replaces_the_stored_flow(video, tmp_path, change):
    output = tmp_path / "clip.avi"
    extract_video(video, output, **settings())
    extract_video(video, output, **settings(**change))
    recorded = read_provenance(output)
    assert recorded is not None
    assert recorded.items() >= change.items()


def test_another_option_replaces_the_stored_flow(video, tmp_path):
    output = tmp_path / "clip.avi"
    for options, parameters in ({"parameters": "opencv_cpu"}, "opencv_cpu"), ({}, "opencv_gpu"):
        extract_video(video, output, **settings(estimator="tvl1", options=options))
        recorded = read_provenance(output)
        assert recorded is not None
        assert recorded["options"] == {"parameters": parameters}
        assert recorded["torch"] == version("torch")


def test_a_default_that_is_written_out_changes_nothing():
    written = {"parameters": "opencv_gpu"}
    assert provenance(**settings(estimator="tvl1", options=written)) == provenance(
        **settings(estimator="tvl1")
    )


def test_learnt_flow_is_known_by_its_weights(tmp_path):
    made_by = []
    for name in ("here.pth", "there.pth"):
        (tmp_path / name).write_bytes(b"weights")
        options = {"weights": str(tmp_path / name)}
        made_by.append(provenance(**settings(estimator="raft", options=options)))
    assert made_by[0] == made_by[1]
    assert made_by[0]["options"] == {"weights": hashlib.sha256(b"weights").hexdigest()}


def test_runs_join_without_a_gap(video, tmp_path, monkeypatch):
    extract_video(video, tmp_path / "whole.avi", **settings())
    monkeypatch.setattr(extract, "PAIRS_AT_ONCE", 2)
    extract_video(video, tmp_path / "runs.avi", **settings())
    whole, runs = (
        read_flow_stacks(tmp_path / name, range(NUM_FRAMES - 1), 1)
        for name in ("whole.avi", "runs.avi")
    )
    np.testing.assert_array_equal(runs, whole)


def test_another_library_version_replaces_the_stored_flow(video, tmp_path, monkeypatch):
    output = tmp_path / "clip.avi"
    extract_video(video, output, **settings())
    monkeypatch.setattr(cv2, "__version__", "99.0")
    extract_video(video, output, **settings())
    recorded = read_provenance(output)
    assert recorded is not None
    assert recorded["opencv"] == "99.0"


def test_a_video_with_fewer_frames_than_ingested_is_refused_and_leaves_nothing(video, tmp_path):
    output = tmp_path / "flow" / "clip.avi"
    with pytest.raises(DataError, match="has 6 frames where 9 were ingested"):
        extract_video(video, output, **settings(num_frames=9))
    assert list(output.parent.iterdir()) == []


def test_a_full_disk_is_an_error_that_names_the_file(video, tmp_path, monkeypatch):
    def write(path: Path, *_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(extract, "write_flow_video", write)
    with pytest.raises(DataError, match=r"clip\.avi cannot be written \(No space left on device\)"):
        extract_video(video, tmp_path / "clip.avi", **settings())
