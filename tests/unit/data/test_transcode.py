import csv
import shutil
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from stpa.config import DecodeConfig, TranscodeConfig
from stpa.data import probe as probing
from stpa.data import transcode as transcoding
from stpa.data.decode import read_frames
from stpa.data.ingest import ingest
from stpa.data.probe import Oddities, probe
from stpa.data.transcode import Transcodes, target_size, transcode
from stpa.data.video_file import decode_video
from stpa.errors import DataError
from stpa.files import is_temporary
from stpa.progress import silent
from tests.unit.data.conftest import make_limits
from tests.unit.data.test_decode import DISPLAY_QUARTER_TURN, DISPLAY_UNTURNED
from tests.unit.data.test_video_file import damage, encode

SETTINGS = TranscodeConfig(short_side=32, gop=6, quality=10)
NAMES = [f"{label}/v_g0{group}.avi" for label in ("row", "swim") for group in (1, 2)]


@pytest.fixture
def made(monkeypatch) -> list[str]:
    """Work in this process, which starts faster; collect the names that were transcoded."""
    names = []

    def call_here(function, calls, limits, num_processes):
        for key, arguments in calls.items():
            if function is transcode:
                names.append(key)
            yield key, function(*arguments)

    monkeypatch.setattr(transcoding, "call_killable", call_here)
    monkeypatch.setattr(probing, "call_killable", call_here)
    return names


def levels(path: Path) -> np.ndarray:
    """Return each frame's gray: four times its index, as `write_video` draws it."""
    images = [frame.to_ndarray(format="gray") for frame in decode_video(path)]
    return np.array([image[image.shape[0] * 3 // 4 :].mean() for image in images])


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.avi", "mpeg4", {"qmin": "1", "qmax": "1", "bf": "2"}),
        ("a.mp4", "libx264", {"crf": "1", "bf": "3"}),
        ("a.webm", "libvpx-vp9", {"crf": "1"}),
        ("a.mpg", "mpeg2video", {"qmin": "1", "qmax": "1"}),
        ("A.TS", "libx264", {"crf": "1"}),
    ],
)
def test_every_frame_is_kept_in_its_place(tmp_path, write_video, name, codec, options):
    original = write_video(tmp_path / name, num_frames=40, codec=codec, options=options)
    copy = tmp_path / "copy" / name
    assert isinstance(transcode(original, copy, SETTINGS), Oddities)
    assert len(levels(copy)) == len(levels(original)) == 40
    assert levels(copy) == pytest.approx(levels(original), abs=3)
    assert read_frames(copy, [39, 3]).shape == (2, 32, 42, 3)


def test_a_transcoded_video_is_read_from_its_key_frames(tmp_path, write_video, monkeypatch):
    copy = tmp_path / "copy.avi"
    transcode(write_video(tmp_path / "a.avi", num_frames=40), copy, SETTINGS)
    with av.open(str(copy)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert not stream.codec_context.has_b_frames
    keys = [place for place, packet in enumerate(packets) if packet.is_keyframe]
    assert max(np.diff([*keys, 40])) <= SETTINGS.gop
    monkeypatch.delattr("stpa.data.decode._scan_frames")
    assert read_frames(copy, range(0, 40, 7)).shape == (6, 32, 42, 3)


def test_the_same_video_gives_the_same_bytes(tmp_path, write_video):
    original = write_video(tmp_path / "a.avi", num_frames=40, width=320, height=240)
    copies = [tmp_path / "1.avi", tmp_path / "2.avi"]
    for copy in copies:
        transcode(original, copy, SETTINGS)
    assert copies[0].read_bytes() == copies[1].read_bytes()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((640, 480), (340, 256)),
        ((480, 640), (256, 340)),
        ((320, 240), (320, 240)),
        ((321, 241), (320, 240)),
        ((1920, 1080), (454, 256)),
        ((1000, 2), (1000, 2)),
        ((3, 1), (2, 2)),
    ],
)
def test_sizes_are_even_and_never_enlarged(size, expected):
    assert target_size(*size, short_side=256) == expected


def test_a_turned_video_is_stored_upright_and_silent(tmp_path, write_video):
    path = write_video(tmp_path / "phone.mp4", codec="libx264", options={"crf": "1"})
    stored = path.read_bytes()
    matrix = stored.index(DISPLAY_UNTURNED, stored.index(b"tkhd"))
    path.write_bytes(stored[:matrix] + DISPLAY_QUARTER_TURN + stored[matrix + 36 :])
    copy = tmp_path / "copy.mp4"
    assert isinstance(
        transcode(path, copy, TranscodeConfig(short_side=48, gop=6, quality=1)), Oddities
    )
    frames = list(decode_video(copy))
    assert {(frame.width, frame.height, frame.rotation) for frame in frames} == {(48, 64, 0)}
    difference = read_frames(copy, [5]).astype(int) - read_frames(path, [5])
    assert np.abs(difference).mean() < 3


def test_sound_is_left_out(tmp_path, write_video):
    silent_video = write_video(tmp_path / "silent.avi", num_frames=10)
    path = tmp_path / "sound.avi"
    with av.open(str(silent_video)) as given, av.open(str(path), "w") as container:
        video = container.add_stream_from_template(given.streams.video[0])
        audio = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame(format="s16", layout="mono", samples=800)
        sound.rate = 8000
        container.mux(audio.encode(sound))
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = video
                container.mux(packet)
    copy = tmp_path / "copy.avi"
    assert isinstance(transcode(path, copy, SETTINGS), Oddities)
    with av.open(str(copy)) as container:
        assert [stream.type for stream in container.streams] == ["video"]


def test_unchanged_videos_are_not_transcoded_again(source, workspace, make_config, made):
    config = make_config(transcode=SETTINGS)
    first = ingest(workspace, config, source, silent)
    assert sorted(made) == NAMES
    assert {(video.width, video.height) for video in first.videos} == {(42, 32)}
    assert [video.num_frames for video in first.videos] == [10, 11, 12, 13]
    made.clear()
    assert ingest(workspace, config, source, silent) == first
    assert ingest(workspace, config, None, silent) == first
    assert made == []


def test_a_changed_original_is_transcoded_again(source, workspace, make_config, made, write_video):
    config = make_config(transcode=SETTINGS)
    ingest(workspace, config, source, silent)
    made.clear()
    write_video(source / NAMES[1], num_frames=20)
    assert ingest(workspace, config, source, silent).videos[1].num_frames == 20
    assert made == [NAMES[1]]


def test_other_settings_transcode_all_again(source, workspace, make_config, made):
    ingest(workspace, make_config(transcode=SETTINGS), source, silent)
    made.clear()
    other = make_config(transcode=SETTINGS.model_copy(update={"short_side": 24}))
    manifest = ingest(workspace, other, source, silent)
    assert sorted(made) == NAMES
    assert {video.height for video in manifest.videos} == {24}


@pytest.mark.usefixtures("made")
def test_originals_come_back_when_transcoding_is_switched_off(source, workspace, make_config):
    ingest(workspace, make_config(transcode=SETTINGS), source, silent)
    ingest(workspace, make_config(), source, silent)
    for name in NAMES:
        assert (workspace.videos / name).read_bytes() == (source / name).read_bytes()
    ingest(workspace, make_config(), None, silent)


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(("before", "now"), [(None, SETTINGS), (SETTINGS, None)])
def test_other_settings_need_the_originals(source, workspace, make_config, before, now):
    ingest(workspace, make_config(transcode=before), source, silent)
    with pytest.raises(DataError, match=r"not what data.transcode says: name the folder of the"):
        ingest(workspace, make_config(transcode=now), None, silent)


def test_a_damaged_video_is_quarantined_and_the_others_transcoded(
    source, workspace, make_config, caplog
):
    (source / NAMES[0]).write_text("not a video")
    for group in (3, 4, 5):
        shutil.copy(source / NAMES[1], source / "row" / f"v_g0{group}.avi")
    manifest = ingest(workspace, make_config(transcode=SETTINGS), source, silent)
    assert [video.path for video in manifest.quarantined] == [NAMES[0]]
    assert manifest.quarantined[0].reason.startswith("does not decode")
    assert (workspace.videos / NAMES[0]).read_text() == "not a video"
    assert "is not transcoded: does not decode" in caplog.text
    assert {video.height for video in manifest.videos if video.status == "ok"} == {32}


@pytest.mark.usefixtures("made")
def test_what_is_odd_about_an_original_is_told_of_its_copy(source, workspace, make_config, caplog):
    odd = encode(source / NAMES[0], options={"g": "10", "x264-params": "colormatrix=YCgCo"})
    damage(odd, 23)
    config = make_config(transcode=SETTINGS)
    for ingested_from in (source, source, None):
        caplog.clear()
        manifest = ingest(workspace, config, ingested_from, silent)
        assert [video.num_lost for video in manifest.videos] == [1, 0, 0, 0]
        assert manifest.videos[0].num_frames == 39
        said = "39 of 40 frames decode, and are used; colours are stored as YCgCo"
        assert f"'{NAMES[0]}': {said}" in caplog.text


@pytest.mark.parametrize(
    ("num_frames", "share"), [(60, 0.5), (1, 1.0)], ids=["cut off", "one frame"]
)
def test_nothing_is_written_of_a_video_that_a_probe_refuses(
    tmp_path, write_video, num_frames, share
):
    path = write_video(tmp_path / "a.avi", num_frames)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert transcode(path, tmp_path / "copy.avi", SETTINGS) == probe(path)
    assert list(tmp_path.iterdir()) == [path]


def hang_at_the_first(
    original: Path, copy: Path, config: TranscodeConfig, limits: DecodeConfig
) -> Oddities | str:
    if copy.name.endswith("g01.avi"):
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.with_name(".partial-0123abcd.avi").touch()
        time.sleep(60)
    return transcode(original, copy, config)


@pytest.mark.slow
def test_a_video_that_hangs_is_left_to_be_probed(source, workspace, make_config, monkeypatch):
    monkeypatch.setattr(transcoding, "transcode", hang_at_the_first)
    config = make_config(transcode=SETTINGS, decode_deadline_seconds=10.0)
    manifest = ingest(workspace, config, source, silent)
    assert [video.height for video in manifest.videos] == [48, 32, 48, 32]
    assert not [path for path in workspace.videos.rglob("*") if is_temporary(path)]


@pytest.mark.parametrize("then", [SETTINGS, None])
def test_a_version_that_came_back_is_what_its_settings_say(tmp_path, then):
    videos = tmp_path / "videos"
    now = SETTINGS if then is None else None
    Transcodes(videos, now, make_limits()).adopt(["before.avi"])
    Transcodes(videos, then, make_limits()).adopt(NAMES)
    Transcodes(videos, then, make_limits()).check_settings()
    with pytest.raises(DataError, match=r"not what data\.transcode says"):
        Transcodes(videos, now, make_limits()).check_settings()


KILLED = """
import os, sys
from pathlib import Path
from stpa.config import DataConfig
from stpa.data.ingest import ingest
from stpa.data.probe import probe
from stpa.workspace import Workspace

def die_after_two(done, total):
    if done == 2:
        os._exit(9)

if __name__ == "__main__":
    config = DataConfig.model_validate_json(sys.argv[1])
    ingest(Workspace(Path(sys.argv[2])), config, Path(sys.argv[3]), die_after_two)
"""


def test_a_video_that_the_encoder_refuses_is_left_to_be_probed(tmp_path, write_video):
    path = write_video(tmp_path / "a.avi", 3, 17000, 16, codec="ffv1", options={"level": "3"})
    fault = transcode(path, tmp_path / "copy.avi", SETTINGS)
    assert isinstance(fault, str)
    assert fault.startswith("does not encode")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_a_killed_ingest_goes_on_where_it_was(source, workspace, make_config, made, tmp_path):
    config = make_config(transcode=SETTINGS)
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    arguments = [config.model_dump_json(), str(workspace.root), str(source)]
    killed = subprocess.run([sys.executable, script, *arguments], timeout=120, check=False)
    assert killed.returncode == 9
    manifest = ingest(workspace, config, source, silent)
    assert len(made) <= 2
    assert {video.height for video in manifest.videos} == {32}
    assert not [path for path in workspace.videos.rglob("*") if is_temporary(path)]


@pytest.mark.usefixtures("made")
def test_listed_names_are_found(source, workspace, make_config):
    rows = [[name, name.split("/")[0], ("train", "test")[i % 2]] for i, name in enumerate(NAMES)]
    with (source / "videos.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["path", "label", "split"], *rows])
    config = make_config(dataset="csv", transcode=SETTINGS)
    manifest = ingest(workspace, config, source, silent)
    assert [video.path for video in manifest.videos] == NAMES
    assert [video.height for video in manifest.videos] == [32] * 4
    assert (workspace.videos / "videos.csv").read_bytes() == (source / "videos.csv").read_bytes()


@pytest.mark.usefixtures("made")
def test_names_on_the_lists_of_ucf101_are_found(source, workspace, make_config):
    root = source.parent / "ucf101"
    names = [name.replace("v_g", f"v_{name.split('/')[0]}_g") for name in NAMES]
    for old, new in zip(NAMES, names, strict=True):
        new_path = root / "UCF-101" / new.replace(".avi", "_c01.avi")
        new_path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / old, new_path)
    lists = root / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 row\n2 swim\n")
    paths = [name.replace(".avi", "_c01.avi") for name in names]
    (lists / "trainlist01.txt").write_text(f"{paths[0]} 1\n{paths[2]} 2\n")
    (lists / "testlist01.txt").write_text(f"{paths[1]}\n{paths[3]}\n")
    config = make_config(dataset="ucf101", transcode=SETTINGS)
    manifest = ingest(workspace, config, root, silent)
    assert len(manifest.videos) == 4
    assert {video.height for video in manifest.videos} == {32}
    assert {video.status for video in manifest.videos} == {"ok"}
