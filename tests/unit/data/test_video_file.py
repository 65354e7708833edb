"""The frames that players show are the same for the probe, RGB, optical flow and transcoding."""

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream

from stpa.config import TranscodeConfig
from stpa.data.decode import read_frames
from stpa.data.picture import RgbConverter
from stpa.data.probe import Oddities, Probe, probe
from stpa.data.transcode import transcode
from stpa.data.video_file import VIDEO_SUFFIXES, Tally, decode_video
from stpa.errors import DataError
from stpa.optical_flow.extract import extract_video

RATE = 25
CLOSED = {"g": "10", "bf": "0"}
OPEN = {
    "x264-params": "open-gop=1:keyint=20:min-keyint=20:scenecut=0:bframes=4:b-adapt=0"
    ":repeat-headers=1"
}
Change = Callable[[av.Packet], bool]
"""Edits a packet; returns whether it is kept."""


def encode(
    path: Path,
    num_frames: int = 40,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    step: int = 1,
    size: tuple[int, int] = (160, 128),
) -> Path:
    """Write a texture that moves and grows brighter, a frame at each `step` of the rate."""
    width, height = size
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    ground = np.random.default_rng(0).integers(0, 90, (height, width, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, options=options or {})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.thread_count = 1
        for index in range(num_frames):
            image = np.roll(ground, 2 * index, axis=1) + np.uint8(3 * index)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = step * index, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def remux(source: Path, output: Path, change: Change) -> Path:
    with av.open(str(source)) as old, av.open(str(output), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size and change(packet):
                packet.stream = stream
                new.mux(packet)
    return output


def damage(path: Path, number: int) -> Path:
    """Overwrite the packet with this number."""
    with av.open(str(path)) as container:
        packets = [(each.pos, each.size) for each in container.demux(video=0) if each.size]
    position, size = packets[number]
    assert position is not None
    content = bytearray(path.read_bytes())
    content[position : position + min(size, 24)] = b"\xff" * min(size, 24)
    path.write_bytes(content)
    return path


def trim(tmp_path: Path, suffix: str, num_hidden: int, options: dict[str, str]) -> Path:
    """Write 60 frames, and hide the first by an edit list."""
    source = encode(tmp_path / f"whole{suffix}", 60, options=options)
    with av.open(str(source)) as container:
        time_base = container.streams.video[0].time_base
    assert time_base is not None
    shift = int(Fraction(num_hidden, RATE) / time_base)

    def earlier(packet):
        packet.pts -= shift
        packet.dts -= shift
        return True

    return remux(source, tmp_path / f"trimmed{suffix}", earlier)


def cut_open(tmp_path: Path, suffix: str, num_packets: int) -> Path:
    """Write from the second key frame on, which the frames shown before it lean on too."""
    source = encode(tmp_path / "whole.mp4", 60, options=OPEN)
    seen: dict[str, int] = {"keys": 0, "kept": 0, "start": 0}

    def second_group(packet):
        seen["keys"] += packet.is_keyframe
        if seen["keys"] < 2 or seen["kept"] == num_packets:
            return False
        if not seen["kept"]:
            seen["start"] = packet.dts
        seen["kept"] += 1
        packet.pts -= seen["start"]
        packet.dts -= seen["start"]
        return True

    return remux(source, tmp_path / f"cut{suffix}", second_group)


def check_everywhere(path: Path, num_frames: int, tmp_path: Path) -> Probe:
    """Check that all who decode a video find the same `num_frames` frames."""
    found = probe(path)
    assert isinstance(found, Probe), found
    assert found.num_frames == num_frames
    to_rgb = RgbConverter()
    frames = np.stack([to_rgb(frame) for frame in decode_video(path)])
    assert len(frames) == num_frames
    for place in {0, num_frames // 3, num_frames // 2, num_frames - 1}:
        [read] = read_frames(path, [place], num_frames=num_frames)
        assert np.array_equal(read, frames[place]), place
    flow = tmp_path / "flow.avi"
    extract_video(
        path,
        flow,
        estimator="farneback",
        options={},
        bound_px=20.0,
        width=32,
        height=32,
        num_frames=num_frames,
        source_sha256=found.sha256,
    )
    assert sum(1 for _ in decode_video(flow)) == num_frames - 1
    copy = tmp_path / "copy.mp4"
    assert isinstance(
        transcode(path, copy, TranscodeConfig(short_side=48, gop=12, quality=10)), Oddities
    )
    copied = probe(copy)
    assert isinstance(copied, Probe)
    assert copied.num_frames == num_frames
    small = read_frames(copy, [num_frames // 2])[0]
    assert small.mean() == pytest.approx(frames[num_frames // 2].mean(), abs=4)
    return found


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("options", [{"g": "60", "bf": "0"}, {"g": "12", "bf": "2"}])
def test_frames_that_an_edit_list_hides_are_no_part_of_the_video(tmp_path, suffix, options):
    path = trim(tmp_path, suffix, 20, options)
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 60
    found = check_everywhere(path, 40, tmp_path)
    assert found.num_lost == 0


@pytest.mark.parametrize("step", [2, 3, 7])
def test_a_picture_that_stays_in_avi_is_one_frame(tmp_path, step):
    path = encode(tmp_path / "a.avi", 20, "mpeg4", {"qmin": "1", "qmax": "1"}, step)
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 19 * step + 1
    found = check_everywhere(path, 20, tmp_path)
    assert found.num_lost == 0


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", CLOSED),
        ("a.mp4", "libx264", {"g": "10", "bf": "2"}),
        ("a.mp4", "libvpx-vp9", {"g": "10"}),
        ("a.avi", "mpeg4", CLOSED),
    ],
)
def test_a_damaged_packet_costs_its_own_frame(tmp_path, name, codec, options):
    path = damage(encode(tmp_path / name, codec=codec, options=options), 23)
    found = check_everywhere(path, 39, tmp_path)
    assert found.num_lost == 1
    assert found.remarks == ["39 of 40 frames decode, and are used"]


def test_a_video_that_loses_a_tenth_of_its_frames_is_refused(tmp_path):
    path = encode(tmp_path / "a.mp4", options=CLOSED)
    for number in (3, 13, 14, 23, 33):
        damage(path, number)
    assert probe(path) == "only 35 of 40 frames decode"
    copy = tmp_path / "copy.mp4"
    settings = TranscodeConfig(short_side=48, gop=12, quality=18)
    assert transcode(path, copy, settings) == probe(path)


def test_a_damaged_first_frame_takes_those_that_need_it_along(tmp_path):
    path = damage(encode(tmp_path / "a.mp4", options=CLOSED), 0)
    assert probe(path) == "only 30 of 40 frames decode"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("num_packets", [24, 40])
def test_frames_that_a_cut_left_without_their_start_are_no_damage(tmp_path, suffix, num_packets):
    path = cut_open(tmp_path, suffix, num_packets)
    tally = Tally()
    num_frames = sum(1 for _ in decode_video(path, tally))
    assert num_packets - 5 <= num_frames < num_packets
    found = check_everywhere(path, num_frames, tmp_path)
    assert found.num_lost == 0


def test_a_broadcast_that_starts_between_key_frames_begins_at_the_next(tmp_path):
    source = encode(tmp_path / "whole.ts", options={"g": "16", "bf": "0"})
    path = remux(source, tmp_path / "late.ts", lambda packet: (packet.dts or 0) > 8 * 3600)
    found = check_everywhere(path, 24, tmp_path)
    assert found.num_lost == 0


def atom(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


def add_cover(path: Path) -> Path:
    """Add a picture to the tags of an MP4 file whose index comes last."""
    jpeg = encode(path.with_name("cover.jpg"), 1, "mjpeg", size=(64, 64)).read_bytes()
    cover = atom(b"ilst", atom(b"covr", atom(b"data", struct.pack(">II", 13, 0) + jpeg)))
    handler = atom(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    tags = atom(b"udta", atom(b"meta", bytes(4) + handler + cover))
    content = path.read_bytes()
    start = content.index(b"moov") - 4
    [size] = struct.unpack(">I", content[start : start + 4])
    # First, as mutagen writes them: so the cover becomes the first stream.
    index = atom(b"moov", tags + content[start + 8 : start + size])
    path.write_bytes(content[:start] + index + content[start + size :])
    return path


def test_a_cover_is_not_the_video(tmp_path):
    path = add_cover(encode(tmp_path / "a.mp4", 24, options=CLOSED))
    with av.open(str(path)) as container:
        assert [each.codec_context.name for each in container.streams.video] == ["mjpeg", "h264"]
    check_everywhere(path, 24, tmp_path)


def test_a_cover_that_is_not_marked_as_one_is_not_the_video(tmp_path):
    video = encode(tmp_path / "video.mp4", 24, options=CLOSED)
    cover = encode(tmp_path / "cover.mov", 1, "mjpeg")
    path = tmp_path / "both.mkv"
    with (
        av.open(str(cover)) as first,
        av.open(str(video)) as second,
        av.open(str(path), "w") as both,
    ):
        sources = [first, second]
        streams = [both.add_stream_from_template(each.streams.video[0]) for each in sources]
        for source, stream in zip(sources, streams, strict=True):
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    both.mux(packet)
    check_everywhere(path, 24, tmp_path)


def test_a_song_with_a_cover_is_no_video(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = 16000
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    add_cover(path)
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1
    assert str(probe(path)).startswith("has no video stream")


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.gif", "gif"),
        ("a.m2ts", "libx264"),
        ("a.M2V", "mpeg2video"),
        ("a.vob", "mpeg2video"),
        ("a.h264", "libx264"),
        ("a.265", "libx265"),
        ("a.mjpeg", "mjpeg"),
        ("a.nut", "mpeg4"),
        ("a.ogv", "libtheora"),
        ("a.ivf", "libvpx-vp9"),
        ("a.mxf", "mpeg2video"),
        ("a.apng", "apng"),
        ("a.y4m", "wrapped_avframe"),
    ],
)
def test_files_of_cameras_and_browsers_are_read(tmp_path, name, codec):
    path = tmp_path / name
    assert path.suffix.lower() in VIDEO_SUFFIXES
    formats = {".m2ts": "mpegts", ".M2V": "mpeg2video", ".265": "hevc", ".y4m": "yuv4mpegpipe"}
    formats |= {".ogv": "ogg", ".h264": "h264"}
    pixels = {"gif": "rgb8", "apng": "rgb24", "mjpeg": "yuvj420p"}
    if codec == "libtheora" and codec not in av.codecs_available:
        pytest.skip("PyAV has no encoder for it")
    with av.open(str(path), "w", format=formats.get(path.suffix)) as container:
        stream = container.add_stream(codec, rate=RATE)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = 160, 128
        stream.pix_fmt = pixels.get(codec, "yuv420p")
        for index in range(12):
            image = np.full((128, 160, 3), 10 * index, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        container.mux(stream.encode())
    check_everywhere(path, 12, tmp_path)


def test_bytes_of_a_stream_do_not_pass_for_a_file_of_another_kind(tmp_path):
    raw = encode(tmp_path / "a.h264", options=CLOSED)
    path = raw.rename(tmp_path / "a.mp4")
    with pytest.raises(DataError, match="does not decode"):
        next(decode_video(path))
