from pathlib import Path

import av
import numpy as np
import pytest

from stpa.data import decode
from stpa.data.decode import read_chunks, read_flow_stacks, read_frames
from stpa.data.video_file import decode_video, open_video
from stpa.errors import DataError

SHARED = Path(__file__).parents[3].parent / "shared" / "data"
LARGE = (320, 240)
"""At which no frame is so small that it may be none."""
DISPLAY_UNTURNED = bytes.fromhex(
    "00010000 00000000 00000000 00000000 00010000 00000000 00000000 00000000 40000000"
)
DISPLAY_QUARTER_TURN = bytes.fromhex(
    "00000000 00010000 00000000 ffff0000 00000000 00000000 00000000 00000000 40000000"
)


def scan(path: Path) -> np.ndarray:
    """Decode every frame in order."""
    frames = decode_video(path)
    return np.stack([np.rot90(f.to_ndarray(format="rgb24"), f.rotation // 90) for f in frames])


def write_flow(path: Path, planes: np.ndarray) -> Path:
    """Write gray images [time, 2 height, width] as stored flow is: MJPEG, full range."""
    num_frames, height, width = planes.shape
    with av.open(str(path), "w") as container:
        options = {"qmin": "1", "qmax": "1"}
        stream = container.add_stream("mjpeg", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        for index in range(num_frames):
            gray = np.full((height * 3 // 2, width), 128, np.uint8)
            gray[:height] = planes[index]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(gray, format="yuvj420p")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def flow_planes() -> np.ndarray:
    """Nine frames: x is 20 i, y is 255 - 20 i, with a ramp over columns in the last."""
    levels = np.arange(9)[:, None, None] * 20
    x = np.broadcast_to(levels, (9, 32, 48))
    planes = np.concatenate([x, 255 - x], axis=1).astype(np.uint8)
    planes[8] = np.linspace(0, 255, 48).round().astype(np.uint8)
    return planes


@pytest.fixture(scope="module")
def flow_file(tmp_path_factory, flow_planes) -> Path:
    return write_flow(tmp_path_factory.mktemp("flow") / "flow.avi", flow_planes)


@pytest.fixture(params=["from key frames", "in order"])
def either_way(request, monkeypatch) -> None:
    """Run a test with each of the two ways to read, whatever the file would allow."""
    if request.param == "in order":
        monkeypatch.setattr(decode, "_find_groups", lambda *_: iter(()))


@pytest.fixture
def scans(monkeypatch) -> list[list[int]]:
    """Collect what is read in order."""
    calls = []
    scan_frames = decode._scan_frames

    def spy(path, wanted):
        calls.append(wanted.tolist())
        return scan_frames(path, wanted)

    monkeypatch.setattr(decode, "_scan_frames", spy)
    return calls


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("short_gop.avi", "mpeg4", {"qmin": "1", "qmax": "1", "g": "4"}),
        ("reordered.avi", "mpeg4", {"qmin": "1", "qmax": "1", "bf": "2"}),
        ("reordered.mp4", "libx264", {"crf": "1", "bf": "3", "g": "8"}),
        ("one_key_frame.mkv", "libx264", {"crf": "1", "g": "99"}),
        ("vp9.webm", "libvpx-vp9", {"crf": "1", "g": "8"}),
    ],
)
def test_frames_come_by_their_place_whatever_the_encoding(
    tmp_path, write_video, name, codec, options
):
    path = write_video(tmp_path / name, num_frames=30, codec=codec, options=options)
    wanted = [17, 0, 29, 3, 3]
    frames = read_frames(path, wanted)
    assert frames.shape == (5, 48, 64, 3)
    assert frames[:, 30:, 30:].mean(axis=(1, 2, 3)) == pytest.approx(np.multiply(wanted, 4), abs=3)
    assert np.abs(frames.astype(int) - scan(path)[wanted]).max() <= 3


@pytest.mark.usefixtures("either_way")
def test_indices_past_the_end_repeat_the_last_frame(tmp_path, write_video):
    path = write_video(tmp_path / "a.avi", num_frames=10)
    first, second, last = read_frames(path, [12, 10, 9])
    assert np.array_equal(first, last)
    assert np.array_equal(second, last)


@pytest.mark.parametrize("gop", ["1", "250"])
def test_frames_are_right_where_timestamps_all_repeat(tmp_path, write_video, gop):
    options = {"crf": "1", "bf": "0", "g": gop}
    path = write_video(tmp_path / "a.mp4", num_frames=20, codec="libx264", options=options)
    stamped = path.read_bytes()
    table = stamped.index(b"stts") + 12
    duration = int.from_bytes(stamped[table + 4 : table + 8], "big")
    assert duration > 0
    path.write_bytes(stamped[: table + 4] + bytes(4) + stamped[table + 8 :])
    levels = read_frames(path, [2, 9, 19])[:, 30:, 30:].mean(axis=(1, 2, 3))
    assert levels == pytest.approx([8, 36, 76], abs=3)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("size", [1, 3, 50])
def test_chunks_are_the_frames_in_order(tmp_path, write_video, size):
    path = write_video(tmp_path / "a.avi", num_frames=30)
    wanted = np.array([0, 4, 5, 17, 28, 40])
    chunks = list(read_chunks(path, wanted, size))
    assert max(len(chunk) for chunk in chunks) <= size
    assert np.array_equal(np.concatenate(chunks), read_frames(path, wanted))


def test_what_key_frames_do_not_give_is_read_in_order(tmp_path, write_video, monkeypatch, scans):
    path = write_video(tmp_path / "a.avi", 30, *LARGE, options={"g": "6"})
    groups = decode._find_groups
    monkeypatch.setattr(
        decode,
        "_find_groups",
        lambda *arguments: (
            group._replace(timestamps=(11, 11)) if group.key == 12 else group
            for group in groups(*arguments)
        ),
    )
    wanted = [1, 8, 14, 15, 26]
    assert np.array_equal(read_frames(path, wanted), scan(path)[wanted])
    assert scans == [[14, 15, 26]]


@pytest.mark.parametrize(
    ("name", "codec", "options", "in_order"),
    [
        ("plain.avi", "mpeg4", {"g": "6"}, False),
        ("one_key_frame.avi", "mpeg4", {"g": "99"}, False),
        ("leading.avi", "mpeg4", {"g": "6", "bf": "2"}, True),
        ("closed.mp4", "libx264", {"g": "8", "bf": "3"}, False),
        ("open.mp4", "libx264", {"g": "8", "bf": "3", "x264-params": "open-gop=1"}, True),
        ("referred.mp4", "libx264", {"g": "20", "bf": "3", "b-pyramid": "none"}, False),
        ("key_frames_alone.mp4", "libx264", {"g": "1"}, False),
        ("vp9.webm", "libvpx-vp9", {"g": "8"}, True),
        ("no_index.ts", "libx264", {"g": "8"}, True),
        ("no_timestamps.avi", "libx264", {"g": "8", "bf": "3"}, True),
        (
            "no_timestamps_open.avi",
            "libx264",
            {"g": "8", "bf": "2", "x264-params": "open-gop=1"},
            True,
        ),
        ("no_timestamps_one_key.avi", "libx264", {"g": "99", "bf": "3"}, True),
        ("in_step.avi", "libx264", {"g": "8", "bf": "0"}, False),
    ],
)
def test_key_frames_are_used_where_they_tell_the_place(
    tmp_path, write_video, scans, name, codec, options, in_order
):
    path = write_video(tmp_path / name, 40, *LARGE, codec=codec, options=options)
    decoded = scan(path)
    for wanted in ([39], [9, 17, 30], [*range(3, 40, 4)], [0, 1, 2, 38, 55]):
        scans.clear()
        assert np.array_equal(read_frames(path, wanted), decoded[np.minimum(wanted, 39)])
        assert bool(scans) is in_order


X265 = "keyint=8:min-keyint=8:scenecut=0:bframes=3:b-adapt=0:log-level=none"


@pytest.mark.parametrize(
    ("codec", "options", "in_order"),
    [
        ("libx265", {"x265-params": f"{X265}:open-gop=0"}, False),
        ("libx265", {"x265-params": f"{X265}:open-gop=1"}, True),
        ("libvpx-vp9", {"g": "8"}, False),
        ("libsvtav1", {"g": "8"}, False),
    ],
)
def test_codecs_that_may_hide_frames_are_sought_once_their_frames_are_counted(
    tmp_path, write_video, scans, codec, options, in_order
):
    path = write_video(tmp_path / "a.mp4", 40, *LARGE, codec=codec, options=options)
    decoded = scan(path)
    for wanted in ([39], [9, 17, 30], [*range(3, 40, 4)], [8, 15, 16, 55]):
        scans.clear()
        frames = read_frames(path, wanted, num_frames=40)
        assert np.array_equal(frames, decoded[np.minimum(wanted, 39)])
        assert bool(scans) is in_order
        scans.clear()
        read_frames(path, wanted)
        assert scans, "the index alone does not tell"


def test_an_index_that_lists_other_frames_than_decode_is_not_believed(tmp_path, write_video, scans):
    options = {"g": "8", "bf": "0"}
    path = write_video(tmp_path / "a.mp4", 40, *LARGE, codec="libx264", options=options)
    read_frames(path, [20], num_frames=40)
    assert not scans
    read_frames(path, [20], num_frames=39)
    assert scans == [[20]]


def test_long_groups_with_reordered_frames_are_not_held_in_memory(
    tmp_path, write_video, monkeypatch, scans
):
    path = write_video(tmp_path / "a.mp4", 60, codec="libx264", options={"g": "99", "bf": "2"})
    monkeypatch.setattr(decode, "MOST_PACKETS", 40)
    assert np.array_equal(read_frames(path, [3, 50]), scan(path)[[3, 50]])
    assert scans == [[3, 50]]


def test_frames_are_right_where_packets_give_none(tmp_path, write_video, scans):
    path = write_video(tmp_path / "a.avi", 30, *LARGE, options={"g": "6"})
    with av.open(str(path)) as source, av.open(str(tmp_path / "b.avi"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for index, packet in enumerate(source.demux(video=0)):
            if packet.size and index == 3:  # a frame that is coded as not there
                stamp = packet.pts
                packet = av.Packet(bytes.fromhex("000001b651cf"))
                packet.pts = packet.dts = stamp
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    decoded = scan(tmp_path / "b.avi")
    assert np.array_equal(read_frames(tmp_path / "b.avi", [2, 20]), decoded[[2, 20]])
    assert scans == [[2, 20]]


@pytest.mark.usefixtures("either_way")
def test_a_turned_video_is_read_upright(tmp_path, write_video):
    path = write_video(tmp_path / "phone.mp4", codec="libx264", options={"crf": "1"})
    stored = path.read_bytes()
    matrix = stored.index(DISPLAY_UNTURNED, stored.index(b"tkhd"))
    path.write_bytes(stored[:matrix] + DISPLAY_QUARTER_TURN + stored[matrix + 36 :])
    [frame] = read_frames(path, [5])
    assert frame.shape == (64, 48, 3)
    assert frame[:16, 24:].mean() > 240, "the top left corner turned clockwise is the top right"
    assert frame[:16, :24].mean() < 40


@pytest.mark.parametrize("name", ["new\nline.avi", "two  spaces.avi", "çà 動画.avi", "a%05d:b.avi"])
def test_any_name_can_be_read(tmp_path, write_video, name):
    path = write_video(tmp_path / "plain.avi").rename(tmp_path / name)
    assert read_frames(path, [3]).shape == (1, 48, 64, 3)


def test_a_text_file_is_refused_by_name(tmp_path):
    path = tmp_path / "notes.avi"
    path.write_text("not a video")
    with pytest.raises(DataError, match=r"notes.avi does not decode"):
        read_frames(path, [0])


def test_a_missing_video_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"gone.avi is missing"):
        read_frames(tmp_path / "gone.avi", [0])


def test_a_playlist_cannot_name_another_file(tmp_path, write_video):
    write_video(tmp_path / "secret.avi")
    playlist = tmp_path / "list.avi"
    playlist.write_text("ffconcat version 1.0\nfile 'secret.avi'\n")
    with pytest.raises(DataError, match="does not decode"):
        next(decode_video(playlist))


def test_flow_stacks_interleave_x_and_y(flow_file):
    stacks = read_flow_stacks(flow_file, [0, 3], 5)
    assert stacks.shape == (2, 10, 32, 48)
    x, y = stacks[:, 0::2].mean(axis=(2, 3)), stacks[:, 1::2].mean(axis=(2, 3))
    steps = np.array([[0, 1, 2, 3, 4], [3, 4, 5, 6, 7]])
    assert x == pytest.approx(20 * steps, abs=1)
    assert y == pytest.approx(255 - 20 * steps, abs=1)


def test_flow_comes_back_in_its_full_range(flow_file, flow_planes):
    stacks = read_flow_stacks(flow_file, [8, 0], 1)
    assert np.abs(stacks[0].reshape(64, 48).astype(int) - flow_planes[8]).max() <= 3
    assert (stacks[0].min(), stacks[0].max()) <= (2, 255)
    assert (stacks[1].min(), stacks[1].max()) == (0, 255)


def test_flow_of_an_odd_width_is_read_without_its_padding(tmp_path):
    planes = np.tile(np.arange(0, 246, 5, dtype=np.uint8)[:50], (3, 64, 1))
    path = write_flow(tmp_path / "flow.avi", planes)
    [stack] = read_flow_stacks(path, [1], 1)
    assert stack.shape == (2, 32, 50)
    assert np.abs(stack.astype(int) - planes[0, :32]).max() <= 3


def test_flow_stacks_past_the_end_repeat_the_last_frame(flow_file):
    [stack] = read_flow_stacks(flow_file, [7], 5)
    assert stack[:2].mean(axis=(1, 2)) == pytest.approx([140, 115], abs=1)
    for step in range(2, 5):
        assert np.array_equal(stack[2 * step : 2 * step + 2], stack[2:4])


def test_flow_that_was_cut_off_is_refused(tmp_path, flow_file):
    path = tmp_path / "flow.avi"
    path.write_bytes(flow_file.read_bytes()[: flow_file.stat().st_size // 2])
    with pytest.raises(DataError, match=r"flow.avi (lacks frame|does not decode)"):
        read_flow_stacks(path, [0, 4], 5)


def test_flow_whose_frames_lean_on_others_is_refused(tmp_path, write_video):
    path = write_video(tmp_path / "ordinary.avi", num_frames=12)
    with pytest.raises(DataError, match=r"ordinary.avi lacks frame 4"):
        read_flow_stacks(path, [4], 5)


def test_flow_that_was_never_extracted_says_so(tmp_path):
    with pytest.raises(DataError, match=r"a.avi is missing: .*extract the flow"):
        read_flow_stacks(tmp_path / "a.avi", [0], 5)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_real_frames_are_the_same_from_key_frames_and_in_order():
    """To the bit: XviD clips of UCF101, some with packed frames, and H.264 clips."""
    clips = [
        *sorted(SHARED.glob("ucf101_clips/*/*.avi")),
        *sorted(SHARED.glob("swipes/*/*.mp4"))[::8],
    ]
    assert len(clips) == 24 + 11
    num_from_keys = 0
    for clip in clips:
        frames = scan(clip)
        wanted = np.array([5, 0, len(frames) // 2, len(frames) // 2 + 1, len(frames) - 1])
        assert np.array_equal(read_frames(clip, wanted), frames[wanted]), clip.name
        with open_video(clip) as video:
            groups = decode._find_groups(video.stream, np.unique(wanted), len(frames))
            num_from_keys += any(groups)
    assert num_from_keys >= 11


def test_an_index_that_calls_every_frame_a_key_frame_is_not_believed(tmp_path, write_video, scans):
    path = write_video(tmp_path / "a.avi", 30, *LARGE, options={"g": "99"})
    stored = bytearray(path.read_bytes())
    start = stored.index(b"idx1") + 8
    for entry in range(start, start + 30 * 16, 16):
        stored[entry + 4] |= 0x10
    path.write_bytes(stored)
    assert np.array_equal(read_frames(path, [2, 20]), scan(path)[[2, 20]])
    assert scans == [[2, 20]]
