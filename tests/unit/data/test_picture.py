import gc
import math
from pathlib import Path

import av
import numpy as np
import pytest

from stpa.config import TranscodeConfig
from stpa.data.decode import read_frames
from stpa.data.picture import RgbConverter, find_orientation
from stpa.data.probe import Oddities, Probe, probe
from stpa.data.transcode import transcode
from stpa.data.video_file import decode_video

UNTURNED = bytes.fromhex("00010000000000000000000000000000000100000000000000000000000000004000")
SETTINGS = TranscodeConfig(short_side=48, gop=12, quality=10)


def turn(path: Path, a: float, b: float, c: float, d: float) -> Path:
    """Write a display matrix: a stored (x, y) is shown at (a x + c y, b x + d y), and shifted."""
    numbers = [a, b, 0, c, d, 0, 64 * (min(a, 0) + min(c, 0)), 48 * (min(b, 0) + min(d, 0))]
    matrix = b"".join(round(65536 * number).to_bytes(4, "big", signed=True) for number in numbers)
    content = path.read_bytes()
    start = content.index(UNTURNED, content.index(b"tkhd"))
    path.write_bytes(content[:start] + matrix + content[start + len(matrix) :])
    return path


def tilt(degrees: float) -> tuple[float, float, float, float]:
    angle = math.radians(degrees)
    return math.cos(angle), math.sin(angle), -math.sin(angle), math.cos(angle)


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((1, 0, 0, 1), lambda image: image),
        ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
        ((1, 0, 0, -1), lambda image: image[::-1]),
        ((-1, 0, 0, -1), lambda image: image[::-1, ::-1]),
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
        ((0, -1, 1, 0), lambda image: np.rot90(image)),
        ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
        ((0, -1, -1, 0), lambda image: np.rot90(image, 2).swapaxes(0, 1)),
        (tilt(2), lambda image: image),
        (tilt(-3.5), lambda image: image),
        (tilt(89.6), lambda image: np.rot90(image, -1)),
        (tilt(178), lambda image: np.rot90(image, 2)),
        (tilt(271), lambda image: np.rot90(image)),
        ((0, 0, 0, 0), lambda image: image),
    ],
)
def test_a_video_is_shown_as_its_matrix_says(tmp_path, write_video, matrix, shown):
    options = {"crf": "1", "bf": "0"}
    stored = write_video(tmp_path / "stored.mp4", codec="libx264", options=options)
    turned = write_video(tmp_path / "turned.mp4", codec="libx264", options=options)
    turn(turned, *matrix)
    expected = shown(read_frames(stored, [5])[0])
    for path in (turned, tmp_path / "copy.mp4"):
        if path != turned:
            assert isinstance(transcode(turned, path, SETTINGS), Oddities)
        found = probe(path)
        assert isinstance(found, Probe)
        assert (found.height, found.width) == expected.shape[:2]
        [frame] = read_frames(path, [5])
        assert np.abs(frame.astype(int) - expected).mean() < 3


def gray(colorspace: int) -> av.VideoFrame:
    image = np.full((16, 16, 3), 90, np.uint8)
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
    frame.colorspace = colorspace
    return frame


@pytest.mark.parametrize("matrix", range(20))
def test_any_colour_matrix_gives_colours(matrix):
    rgb = RgbConverter()(gray(matrix))
    assert np.abs(rgb.astype(int) - 90).max() <= 2


@pytest.mark.parametrize(
    ("matrix", "name"),
    [("YCgCo", "YCgCo"), ("bt2020c", "BT.2020 with constant luminance"), ("ICtCp", "ICtCp")],
)
def test_an_odd_colour_matrix_is_named(tmp_path, write_video, matrix, name):
    options = {"x264-params": f"colormatrix={matrix}"}
    found = probe(write_video(tmp_path / "a.mp4", codec="libx264", options=options))
    assert isinstance(found, Probe)
    assert found.odd_matrix == name
    assert found.remarks == [f"colours are stored as {name}, and may be shown wrongly"]
    assert found.measures.keys() == found.model_dump().keys() - {"odd_matrix"}


def test_a_usual_colour_matrix_is_not_remarked(tmp_path, write_video):
    options = {"x264-params": "colormatrix=bt709"}
    found = probe(write_video(tmp_path / "a.mp4", codec="libx264", options=options))
    assert isinstance(found, Probe)
    assert found.remarks == []


def test_frames_are_released_once_they_are_read(tmp_path, write_video):
    path = write_video(tmp_path / "a.avi", 30, 640, 480)
    gc.collect()
    gc.disable()
    try:
        to_rgb = RgbConverter()
        sizes = [to_rgb(frame).shape for frame in decode_video(path)]
        kept = [each for each in gc.get_objects() if type(each) is av.VideoFrame]
    finally:
        gc.enable()
    assert len(sizes) == 30
    assert len(kept) <= 2


def test_a_frame_without_a_matrix_is_upright():
    assert find_orientation(gray(2)) == (False, False, False)
