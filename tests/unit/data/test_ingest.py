from pathlib import Path

import pytest

from stpa.data import ingest as ingesting
from stpa.data.ingest import ingest
from stpa.data.manifest import read_manifest
from stpa.data.probe import Probe
from stpa.errors import ConfigError, DataError
from stpa.progress import silent
from stpa.workspace import Workspace

NAMES = [
    f"{label}/v_{label}_g{group:02}_c01.avi" for label in ("row", "swim") for group in range(1, 5)
]


@pytest.fixture
def probed(monkeypatch) -> list[str]:
    """Replace decoding by a count: names of videos probed, in order."""
    names = []

    def probe_videos(paths, limits, num_processes):
        for path in paths:
            names.append(path.name)
            sound = Probe(num_frames=10, fps=25, width=64, height=48, sha256="0" * 64)
            yield path, "is empty" if path.stat().st_size == 0 else sound

    monkeypatch.setattr(ingesting, "probe_videos", probe_videos)
    return names


def test_a_folder_becomes_a_manifest(source, workspace, make_config):
    (source / NAMES[0]).write_text("not a video")
    seen = []
    manifest = ingest(workspace, make_config(), source, lambda *counts: seen.append(counts))
    assert manifest == read_manifest(workspace.manifest)
    assert manifest.class_names == ("row", "swim")
    assert [video.path for video in manifest.quarantined] == [NAMES[0]]
    assert [video.num_frames for video in manifest.videos] == [0, *range(11, 18)]
    assert seen[-1] == (8, 8)
    for video in manifest.videos:
        assert (workspace.videos / video.path).is_file()


def test_what_is_odd_about_a_usable_video_is_said(
    source, workspace, make_config, monkeypatch, caplog
):
    odd = Probe(num_frames=39, fps=25, width=64, height=48, sha256="0" * 64, num_lost=1)
    odd = odd.model_copy(update={"odd_matrix": "YCgCo"})
    monkeypatch.setattr(
        ingesting, "probe_videos", lambda paths, *_: ((each, odd) for each in paths)
    )
    manifest = ingest(workspace, make_config(), source, silent)
    assert {video.num_lost for video in read_manifest(workspace.manifest).videos} == {1}
    assert not manifest.quarantined
    said = f"'{NAMES[0]}': 39 of 40 frames decode, and are used; colours are stored as YCgCo"
    assert said in caplog.text
    caplog.clear()
    ingest(workspace, make_config(), source, silent)
    assert said in caplog.text, "remembered with the probe"


def test_an_unchanged_folder_is_not_decoded_again(source, workspace, make_config, probed):
    first = ingest(workspace, make_config(), source, silent)
    assert len(probed) == 8
    assert ingest(workspace, make_config(), source, silent) == first
    assert len(probed) == 8


def test_only_a_changed_video_is_decoded_again(source, workspace, make_config, probed):
    ingest(workspace, make_config(), source, silent)
    probed.clear()
    (source / NAMES[3]).write_bytes(bytes((source / NAMES[3]).stat().st_size))
    ingest(workspace, make_config(), source, silent)
    assert probed == [Path(NAMES[3]).name]


def test_a_killed_ingest_goes_on_where_it_stopped(source, workspace, make_config, probed):
    def kill(done: int, total: int, *_details: object) -> None:
        if probed and done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(workspace, make_config(), source, kill)
    assert not workspace.manifest.exists()
    with (workspace.runs / "probes.jsonl").open("a") as stream:
        stream.write('\n{"path": "row/v_ro')
    probed.clear()
    ingest(workspace, make_config(), source, silent)
    assert len(probed) == 3
    probed.clear()
    ingest(workspace, make_config(), source, silent)
    assert probed == []


def test_too_many_bad_videos_stop_the_ingest(source, workspace, make_config, probed):
    for name in NAMES[:3]:
        (source / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"3 of 8 videos cannot be used.*g01_c01.avi': is empty"):
        ingest(workspace, make_config(), source, silent)
    assert not workspace.manifest.exists()


def test_a_failed_ingest_leaves_the_last_manifest(source, workspace, make_config, probed):
    manifest = ingest(workspace, make_config(), source, silent)
    for name in NAMES:
        (source / name).write_bytes(b"")
    with pytest.raises(DataError):
        ingest(workspace, make_config(), source, silent)
    assert read_manifest(workspace.manifest) == manifest


def test_quarantine_may_not_empty_a_split(source, workspace, make_config, probed):
    for name in NAMES[:4]:
        (source / name).write_bytes(b"")
    with pytest.raises(DataError, match="class 'row' has no video"):
        ingest(workspace, make_config(max_quarantined=1), source, silent)


def test_of_two_videos_with_one_id_the_second_is_quarantined(
    source, workspace, make_config, probed
):
    twin = (source / NAMES[0]).with_suffix(".mp4")
    twin.write_bytes((source / NAMES[0]).read_bytes())
    manifest = ingest(workspace, make_config(), source, silent)
    [video] = manifest.quarantined
    assert video.path == NAMES[0].replace(".avi", ".mp4")
    assert "same name" in video.reason


def test_the_configured_source_counts_from_the_workspace(source, workspace, make_config, probed):
    workspace.root.mkdir()
    ingest(workspace, make_config(source="../source"), None, silent)
    assert len(probed) == 8


def test_an_unknown_dataset_is_answered_with_the_known_ones(workspace, make_config):
    with pytest.raises(ConfigError, match=r"'kinetics'.*csv, folder, hmdb51, synthetic, ucf101"):
        ingest(workspace, make_config(dataset="kinetics"), None, silent)


def test_new_recordings_leave_old_ones_in_their_split(tmp_path, write_video, make_config):
    workspace, source = Workspace(tmp_path / "work"), tmp_path / "source"

    def sides(groups: range) -> dict[str, str]:
        for label in ("a", "b"):
            for group in groups:
                write_video(source / label / f"v_g{group:02}.avi", num_frames=2)
        config = make_config(num_folds=3)
        manifest = ingest(workspace, config, source, silent)
        return {video.group: video.split for video in manifest.videos}

    before = sides(range(6))
    after = sides(range(6, 12))
    assert {group: after[group] for group in before} == before
    assert len(after) == 12


def test_another_split_deals_the_recordings_anew(tmp_path, write_video, make_config):
    workspace, source = Workspace(tmp_path / "work"), tmp_path / "source"
    for label in ("a", "b"):
        for group in range(4):
            write_video(source / label / f"v_g{group:02}.avi", num_frames=2)
    held_out = [
        {
            video.group
            for video in ingest(workspace, make_config(split=split), source, silent).select("test")
        }
        for split in (1, 2)
    ]
    assert held_out[0].isdisjoint(held_out[1])


def test_a_list_that_moves_a_recording_is_followed_and_told(
    source, workspace, make_config, probed, caplog
):
    config = make_config(dataset="csv")

    def ingest_list(held_out: str) -> set[str]:
        sides = ["test" if held_out in name else "train" for name in NAMES]
        lines = [
            f"{name},{name.partition('/')[0]},{side}"
            for name, side in zip(NAMES, sides, strict=True)
        ]
        (source / "videos.csv").write_text("\n".join(["path,label,split", *lines]))
        return {video.path for video in ingest(workspace, config, source, silent).select("test")}

    assert ingest_list("g01") == {name for name in NAMES if "g01" in name}
    assert not caplog.messages
    assert ingest_list("g02") == {name for name in NAMES if "g02" in name}
    assert "4 recordings change their split" in caplog.text


def test_videos_of_many_labels_and_none_keep_their_intervals(
    tmp_path, workspace, make_config, probed
):
    (tmp_path / "source" / "Charades").mkdir(parents=True)
    lists = tmp_path / "source" / "Charades"
    (lists / "Charades_v1_classes.txt").write_text("c000 Holding\nc001 Putting\n")
    actions = {
        "A": "c001 1 2;c000 0 9;c001 3 4",
        "B": "",
        "C": "c000 5 4;c001 0 1",
        "D": "c000 0 1",
    }
    (tmp_path / "source" / "Charades_v1_480").mkdir()
    for side, names in (("train", "AB"), ("test", "CD")):
        rows = [f"{name},{actions[name]}" for name in names]
        (lists / f"Charades_v1_{side}.csv").write_text("\n".join(["id,actions", *rows]))
        for name in names:
            (tmp_path / "source" / "Charades_v1_480" / f"{name}.mp4").write_text("a video")
    manifest = ingest(workspace, make_config(dataset="charades"), tmp_path / "source", silent)
    assert read_manifest(workspace.manifest) == manifest
    assert manifest.multi_label
    assert manifest.class_names == ("c000 Holding", "c001 Putting")
    assert {Path(video.path).stem: video.intervals for video in manifest.videos} == {
        "A": ((1, 2), (0, 9), (3, 4)),
        "B": (),
        "C": (None, (0, 1)),
        "D": ((0, 1),),
    }
