import json
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from stpa.data.datasets.synthetic import SyntheticDataset
from stpa.errors import ConfigError, DataError
from stpa.progress import silent
from tests.unit.data.datasets.generated import DEMO, HARD

SMALL = {"num_groups": 2, "clips_per_group": 1, "num_frames": 16, "size_px": 64}
SETTINGS = DEMO.model_dump() | SMALL
HARD_SETTINGS = HARD.model_dump() | SMALL


@pytest.fixture
def generate(make_config):
    """Generate clips of the settings above; keywords replace their values."""

    def run(destination: Path, progress=silent, **changes) -> None:
        config = make_config(dataset="synthetic", synthetic=SETTINGS | changes)
        SyntheticDataset().prepare(destination, None, config, progress)

    return run


def _contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def _stamps(root: Path) -> dict[Path, tuple[int, int]]:
    """Say which files are the very same: by inode and time of change."""
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in root.rglob("*.*")}


def test_clips_are_laid_out_and_listed_as_ucf101s(tmp_path, generate, make_config):
    generate(tmp_path)
    lists = tmp_path / "ucfTrainTestlist"
    classes = (lists / "classInd.txt").read_bytes()
    assert classes.startswith(b"1 AmberBounce\r\n2 AmberSway\r\n")
    assert classes.count(b"\r\n") == 9
    assert b"JadeTwist/v_JadeTwist_g01_c01.avi 6\r\n" in (lists / "trainlist01.txt").read_bytes()
    assert b"JadeTwist/v_JadeTwist_g02_c01.avi\r\n" in (lists / "testlist01.txt").read_bytes()

    config = make_config(dataset="synthetic", synthetic=SETTINGS)
    videos = SyntheticDataset().list_videos(tmp_path, config)
    assert len(videos) == 18
    assert all((tmp_path / video.path).is_file() for video in videos)
    assert {label for video in videos if video.split == "test" for label in video.labels} == {
        appearance + motion
        for appearance in ("Amber", "Jade", "Violet")
        for motion in ("Sway", "Bounce", "Twist")
    }


def test_each_split_holds_out_another_third_of_the_groups(tmp_path, generate):
    generate(tmp_path, num_groups=6)
    held_out = []
    for split in (1, 2, 3):
        lines = (tmp_path / "ucfTrainTestlist" / f"testlist0{split}.txt").read_text().split()
        held_out.append({line.split("_")[2] for line in lines})
    assert held_out == [{"g05", "g06"}, {"g03", "g04"}, {"g01", "g02"}]


def test_a_clip_is_xvid_of_the_size_and_length_asked_for(tmp_path, generate):
    generate(tmp_path)
    with av.open(str(next(tmp_path.rglob("*.avi")))) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.codec_tag, stream.average_rate) == ("XVID", 25)
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert np.stack(frames).shape == (16, 64, 64, 3)


def test_a_clip_bears_no_mark_of_the_libraries_versions(tmp_path, generate):
    generate(tmp_path)
    content = next(tmp_path.rglob("*.avi")).read_bytes()
    assert b"Lavc" not in content
    assert b"Lavf" not in content


def test_equal_seeds_give_equal_bytes(tmp_path, generate):
    generate(tmp_path / "a")
    generate(tmp_path / "b")
    assert _contents(tmp_path / "a") == _contents(tmp_path / "b")


def test_another_seed_gives_other_clips(tmp_path, generate):
    generate(tmp_path / "a")
    generate(tmp_path / "b", seed=1)
    before, after = _contents(tmp_path / "a"), _contents(tmp_path / "b")
    made = {name for name in before if name.endswith(".avi")} | {"annotations.json"}
    assert all(before[name] != after[name] for name in made)


def test_a_second_run_writes_nothing(tmp_path, generate):
    generate(tmp_path)
    before = _stamps(tmp_path)
    generate(tmp_path)
    assert _stamps(tmp_path) == before


def test_a_missing_clip_alone_is_made_again(tmp_path, generate):
    generate(tmp_path)
    whole, before = _contents(tmp_path), _stamps(tmp_path)
    lost = next(tmp_path.rglob("*.avi"))
    lost.unlink()
    reports = []
    generate(tmp_path, progress=lambda done, total, *_details: reports.append((done, total)))
    assert reports == [(18, 18)]
    assert _contents(tmp_path) == whole
    assert {path for path, stamp in _stamps(tmp_path).items() if stamp != before[path]} == {lost}


def test_options_as_they_once_were_fixed_leave_the_stamp_as_it_was(tmp_path, generate):
    """Another stamp would be another version of the data, and everything would be trained again."""
    generate(tmp_path)
    assert (tmp_path / "generated.json").read_text() == (
        '{"recipe": 1, "num_groups": 2, "clips_per_group": 1, "num_frames": 16, "size_px": 64, '
        '"seed": 0}\n'
    )


@pytest.mark.parametrize("option", ["action_share", "actor_radius", "distractor", "clutter"])
def test_another_option_is_on_the_stamp_and_replaces_every_clip(tmp_path, generate, option):
    generate(tmp_path)
    before = _contents(tmp_path)
    generate(tmp_path, **{option: HARD_SETTINGS[option]})
    after = _contents(tmp_path)
    assert json.loads(after["generated.json"])[option] == HARD_SETTINGS[option]
    assert all(before[name] != after[name] for name in before if name.endswith(".avi"))


def test_other_settings_replace_every_clip(tmp_path, generate):
    generate(tmp_path / "a", num_groups=3)
    generate(tmp_path / "a", seed=1)
    generate(tmp_path / "b", seed=1)
    assert _contents(tmp_path / "a") == _contents(tmp_path / "b")


def test_a_killed_run_is_finished_by_the_next(tmp_path, generate, make_config):
    generate(tmp_path / "whole", num_groups=6)
    config = make_config(dataset="synthetic", synthetic=SETTINGS | {"num_groups": 6})
    program = f"""
import os, signal
from pathlib import Path
from stpa.config import DataConfig
from stpa.data.datasets.synthetic import SyntheticDataset

def die_early(done, total):
    if done == 5:
        os.kill(os.getpid(), signal.SIGKILL)

config = DataConfig.model_validate_json({config.model_dump_json()!r})
SyntheticDataset().prepare(Path({str(tmp_path / "cut")!r}), None, config, die_early)
"""
    died = subprocess.run([sys.executable, "-c", program], check=False)
    assert died.returncode == -signal.SIGKILL
    generate(tmp_path / "cut", num_groups=6)
    assert _contents(tmp_path / "cut") == _contents(tmp_path / "whole")


def test_what_a_killed_run_left_half_written_goes(tmp_path, generate):
    generate(tmp_path)
    left = tmp_path / "UCF-101" / "JadeSway" / ".partial-01234567.avi"
    left.write_bytes(b"half")
    generate(tmp_path)
    assert not left.exists()


def test_a_persons_own_files_are_left_alone(tmp_path, generate):
    mine = tmp_path / "UCF-101" / "Mine" / "v_Mine_g01_c01.avi"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(DataError, match="take another workspace for generated clips"):
        generate(tmp_path)
    assert _contents(tmp_path) == {"UCF-101/Mine/v_Mine_g01_c01.avi": b"mine"}


def test_annotations_say_when_and_where_each_action_is(tmp_path, generate):
    generate(tmp_path)
    actions = json.loads((tmp_path / "annotations.json").read_text())
    videos = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.avi")}
    assert actions.keys() == videos
    for action in actions.values():
        assert action.keys() == {"first_frame", "boxes"}
        boxes = np.array(action["boxes"])
        assert 0 <= action["first_frame"] <= 16 - len(boxes)
        assert len(boxes) in range(10, 15)
        assert (boxes >= 0).all()
        assert (boxes <= 64).all()


def test_annotations_say_when_and_where_a_distractor_is_on_the_frame(tmp_path, generate):
    generate(tmp_path, **HARD_SETTINGS)
    actions = json.loads((tmp_path / "annotations.json").read_text())
    for action in actions.values():
        distractor = action["distractor"]
        boxes = np.array(distractor["boxes"])
        assert 0 <= distractor["first_frame"] <= 16 - len(boxes)
        assert len(boxes) >= 8
        assert (boxes >= 0).all()
        assert (boxes <= 64).all()
        assert (boxes[:, 2:] - boxes[:, :2] > np.ptp(action["boxes"][0][::2]) / 2).all()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"synthetic": None}, "data.synthetic, which is null"),
        ({"synthetic": SETTINGS | {"size_px": 65}}, "size_px 65 must be even"),
    ],
)
def test_settings_that_cannot_be_generated_are_refused(tmp_path, make_config, changes, fault):
    with pytest.raises(ConfigError, match=fault):
        SyntheticDataset().prepare(tmp_path, None, make_config(**changes), silent)
    assert not list(tmp_path.iterdir())


def test_a_source_is_refused(tmp_path, make_config):
    config = make_config(synthetic=SETTINGS)
    with pytest.raises(DataError, match="generated clips take no source"):
        SyntheticDataset().prepare(tmp_path / "videos", tmp_path, config, silent)
