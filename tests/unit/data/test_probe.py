import os
import signal
import time
from pathlib import Path

import av
import numpy as np
import pytest

from stpa.config import DecodeConfig, TranscodeConfig
from stpa.data import probe as probing
from stpa.data import video_file
from stpa.data.deadline import on_progress
from stpa.data.probe import Probe, probe, probe_videos
from stpa.data.transcode import transcode
from stpa.files import digest_file
from tests.unit.data.conftest import make_limits


def test_a_sound_video_is_measured(tmp_path, write_video):
    path = write_video(tmp_path / "a.avi", num_frames=10)
    assert probe(path) == Probe(
        num_frames=10, fps=25, width=64, height=48, sha256=digest_file(path)
    )


def test_a_text_file_called_avi_is_named_undecodable(tmp_path):
    path = tmp_path / "notes.avi"
    path.write_text("not a video")
    assert probe(path) == "does not decode (Invalid data found when processing input)"


def test_an_empty_file_is_named_empty(tmp_path):
    path = tmp_path / "nothing.avi"
    path.touch()
    assert probe(path) == "is empty"


def test_a_missing_file_is_named_missing(tmp_path):
    assert probe(tmp_path / "gone.avi") == "No such file or directory"


def test_sound_without_pictures_is_named(tmp_path):
    path = tmp_path / "sound.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        silence = av.AudioFrame(format="s16", layout="mono", samples=800)
        silence.rate = 8000
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    assert str(probe(path)).startswith("has no video stream")


def test_a_title_in_no_encoding_at_all_costs_nothing(tmp_path):
    path = tmp_path / "titled.avi"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "a title"
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        for level in range(8):
            gray = np.full((64, 64, 3), 20 * level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(gray, format="rgb24")))
        container.mux(stream.encode())
    whole = path.read_bytes()
    assert b"a title" in whole
    path.write_bytes(whole.replace(b"a title", b"\xcc title"))
    found = probe(path)
    assert isinstance(found, Probe)
    assert found.num_frames == 8


def test_a_single_frame_is_too_few_for_optical_flow(tmp_path, write_video):
    path = write_video(tmp_path / "a.avi", num_frames=1)
    assert probe(path) == "only 1 of 1 frames decode"


def test_a_truncated_video_is_told_by_the_frames_its_header_promises(tmp_path, write_video):
    path = write_video(tmp_path / "a.avi", num_frames=60)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    reason = probe(path)
    assert isinstance(reason, str)
    assert reason.startswith(("only", "does not decode"))


def test_a_truncated_mp4_does_not_decode(tmp_path, write_video):
    path = write_video(tmp_path / "a.mp4", num_frames=60, codec="libx264")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert str(probe(path)).startswith("does not decode")


def write_promising(write_video, path: Path, num_promised: int) -> Path:
    """Write a video of 40 frames whose header promises another number."""
    write_video(path, num_frames=40)
    stored = bytearray(path.read_bytes())
    for count in (stored.index(b"avih") + 24, stored.index(b"strh") + 40):
        assert stored[count : count + 4] == (40).to_bytes(4, "little")
        stored[count : count + 4] = num_promised.to_bytes(4, "little")
    path.write_bytes(stored)
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == num_promised
    return path


def test_a_few_promised_frames_that_are_not_there_are_not_counted(tmp_path, write_video):
    found = probe(write_promising(write_video, tmp_path / "a.avi", 42))
    assert isinstance(found, Probe)
    assert found.num_frames == 40


def test_a_video_that_lacks_many_promised_frames_is_refused(tmp_path, write_video):
    path = write_promising(write_video, tmp_path / "a.avi", 50)
    assert probe(path) == "only 40 of 50 frames decode"


def test_a_video_that_changes_its_frame_size_is_refused(tmp_path, write_video):
    small = write_video(tmp_path / "small.ts", width=64, codec="libx264", options={})
    large = write_video(tmp_path / "large.ts", width=128, codec="libx264", options={})
    path = tmp_path / "both.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    assert probe(path) == "changes its frame size midway"


def hang(path: Path, limits: DecodeConfig) -> str:
    if path.name == "hangs":
        time.sleep(60)
    if path.name == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    return "was looked at"


def test_a_decoder_that_hangs_or_crashes_costs_one_video(monkeypatch):
    monkeypatch.setattr(probing, "probe", hang)
    paths = [Path("hangs"), Path("crashes"), *(Path(f"sound {n}") for n in range(6))]
    found = dict(probe_videos(paths, make_limits(decode_deadline_seconds=2), 2))
    assert found.pop(Path("hangs")) == "gives no frame for 2 s (data.decode_deadline_seconds)"
    assert found.pop(Path("crashes")) == "crashes its decoder"
    assert set(found.values()) == {"was looked at"}
    assert len(found) == 6


def dawdle(path: Path, limits: DecodeConfig) -> str:
    for _ in range(6):
        time.sleep(0.5)
        on_progress()
    return "was looked at"


def test_a_long_video_may_take_longer_than_the_deadline(monkeypatch):
    monkeypatch.setattr(probing, "probe", dawdle)
    found = dict(probe_videos([Path("long")], make_limits(decode_deadline_seconds=1.5), 1))
    assert found == {Path("long"): "was looked at"}


def need_memory(path: Path, limits: DecodeConfig) -> str:
    return f"was looked at, {np.ones(10**9, np.uint8).size} bytes"


def test_a_video_may_take_no_more_memory_than_is_set(monkeypatch):
    monkeypatch.setattr(probing, "probe", need_memory)
    [(_, found)] = probe_videos([Path("large")], make_limits(decode_memory_gib=0.75), 1)
    assert found == "takes over 0.75 GiB of memory to decode (data.decode_memory_gib)"
    [(_, found)] = probe_videos([Path("large")], make_limits(decode_memory_gib=None), 1)
    assert found == "was looked at, 1000000000 bytes"


def test_a_video_of_too_many_frames_is_refused(tmp_path, write_video):
    path = write_video(tmp_path / "a.mkv", num_frames=12, codec="libx264", options={"g": "4"})
    assert probe(path, make_limits(max_frames=11)) == "has over 11 frames (data.max_frames): cut it"
    assert isinstance(probe(path, make_limits(max_frames=12)), Probe)
    assert isinstance(probe(path, make_limits(max_frames=None)), Probe)


def test_a_header_that_promises_too_many_frames_is_refused_unread(
    tmp_path, write_video, monkeypatch
):
    path = write_promising(write_video, tmp_path / "a.avi", 60_000_000)
    monkeypatch.setattr(video_file, "_num_promised", lambda *_: pytest.fail("the index was listed"))
    assert str(probe(path, make_limits())).startswith("has over 1000 frames (data.max_frames)")


def test_a_video_of_too_large_frames_is_refused(tmp_path, write_video):
    path = write_video(tmp_path / "a.avi", width=640, height=480)
    limits = make_limits(max_megapixels=0.3)
    assert probe(path, limits) == (
        "has frames of 0.3 million pixels, over 0.3 (data.max_megapixels): make them smaller"
    )
    copied = TranscodeConfig(short_side=48, gop=12, quality=18)
    assert transcode(path, tmp_path / "copy.avi", copied, limits) == probe(path, limits)
    assert isinstance(probe(path, make_limits(max_megapixels=None)), Probe)


def test_no_videos_need_no_processes():
    assert list(probe_videos([], make_limits(), 2)) == []
