"""Videos of several labels or none, in Charades' layout, from their lists to a champion."""

import re
import subprocess
from html import unescape
from pathlib import Path

import pytest
import yaml

from stpa.data.manifest import read_manifest
from stpa.files import read_json
from stpa.params import load_config, load_part
from stpa.params.parts import PredictParams
from stpa.registry.rules import RULES
from stpa.registry.tracking import open_tracker
from stpa.stages.predict import predict
from stpa.workspace import Workspace
from tests.workspaces import all_runs, kind_of, make_workspace, run_stpa, small_params, write_video

CLASSES = ("c000 Holding some clothes", "c001 Läuft, schnell", "c147 Sitting")
ACTIONS = [
    "c000 0.00 0.10;c147 0.05 0.20",
    "c001 0.00 9.00;c001 0.10 0.20",
    "c147 0.00 0.20;c001 0.00 0.20;c000 0.10 0.20",
    "c000 0.20 0.10",
    "",
]
"""Of the videos of a split in turn; one ends before it starts, one after the video."""
VIDEOS_PER_SPLIT = 10

pytestmark = pytest.mark.slow


def write_charades(folder: Path) -> Path:
    """Write videos that only their texture tells apart, and their lists."""
    lists = folder / "Charades"
    lists.mkdir()
    (lists / "Charades_v1_classes.txt").write_text("\n".join(CLASSES), encoding="utf-8")
    for side in ("train", "test"):
        rows = []
        for index in range(VIDEOS_PER_SPLIT):
            kind = index % len(ACTIONS)
            video_id = f"{side.upper()}{index:02}"
            write_video(folder / "Charades_v1_480" / f"{video_id}.mp4", seed=kind)
            rows.append(f'{video_id},"Someone, ""here""",{ACTIONS[kind]},0.20')
        table = "\n".join(["id,script,actions,length", *rows, ""])
        (lists / f"Charades_v1_{side}.csv").write_text(table, encoding="utf-8")
    return folder


def params(num_segments: int) -> dict:
    stream = {"epochs": 4, "learning_rate": 0.004, "new_layer_rate": 1, "dropout": 0.2}
    streams = small_params()["train"]["streams"]
    return small_params(
        data={"dataset": "charades"},
        train={
            "streams": {name: each | stream for name, each in streams.items()},
            "batch_size": 5,
        },
        evaluate={"late_fusion": "average_probabilities", "num_segments": num_segments},
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_charades(tmp_path_factory.mktemp("charades"))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Workspace:
    workspace = make_workspace(tmp_path_factory.mktemp("work") / "space", params(num_segments=3))
    done = run_stpa("retrain", source, "--workspace", workspace.root)
    assert done.returncode == 0, done.stderr
    assert "mAP on the test videos, K=3" in done.stdout
    return workspace


def test_a_download_is_found_complete(source: Path) -> None:
    done = run_stpa("data", "check", source, "--dataset", "charades")
    assert done.returncode == 0, done.stderr
    assert "20 of 20 listed videos are there" in done.stdout


def test_the_manifest_keeps_every_action(workspace: Workspace) -> None:
    manifest = read_manifest(workspace.manifest)
    assert manifest.multi_label
    assert manifest.class_names == CLASSES
    by_id = {video.video_id: video for video in manifest.videos}
    twice, backwards, none = (by_id[f"Charades_v1_480/TRAIN0{index}"] for index in (1, 3, 4))
    assert (twice.labels, twice.intervals) == ((CLASSES[1],) * 2, ((0, 9), (0.1, 0.2)))
    assert (backwards.labels, backwards.intervals) == ((CLASSES[0],), (None,))
    assert (none.labels, none.intervals) == ((), ())


def test_the_summary_has_average_precisions(workspace: Workspace) -> None:
    summary = read_json(workspace.summary)
    for name in ("rgb_map", "flow_map", "fused_map", "tsn_fused_map"):
        assert 0 < summary[name] <= 1
    assert summary["k_sweep"]["fused"]["3"] == summary["fused_map"]
    assert summary["outcome"] == "promoted"
    assert not any("top1" in name for name in summary)


def test_the_report_tells_map_and_its_interval(workspace: Workspace) -> None:
    page = workspace.report.read_text(encoding="utf-8")
    summary = read_json(workspace.summary)
    assert f"<td>{100 * summary['fused_map']:.1f}</td>" in page
    for text in ("mAP, %", "wAP, %", "bootstrap over videos", "Average precision by class"):
        assert text in page
    assert "top-1" not in page


def test_runs_hold_average_precisions_at_each_k(workspace: Workspace) -> None:
    tracker = open_tracker(workspace, load_config(workspace.params).tracking)
    runs = all_runs(tracker)
    assert len(runs) == 5
    for run in runs:
        for name in ("map", "wap"):
            assert tracker.logged_steps(run.info.run_id, f"k_sweep/{name}") >= {1, 3}
            assert f"test/{name}" in run.data.metrics
    [fused] = [run.data.metrics for run in runs if kind_of(run) == "fusion-stpa"]
    summary = read_json(workspace.summary)
    assert fused["test/map"] == pytest.approx(summary["fused_map"])
    gain = summary["fused_map"] - summary["tsn_fused_map"]
    assert fused["test/gain_over_tsn"] == pytest.approx(gain)
    assert fused["test/gain_over_tsn_low"] <= gain <= fused["test/gain_over_tsn_high"]


def test_another_k_is_judged_by_map_and_can_be_tried_though_it_is_rejected(
    workspace: Workspace, tmp_path: Path
) -> None:
    changed = params(num_segments=1)
    changed["promotion"]["rules"] = {name: {} for name in RULES} | {
        "no_worse_than_champion": {"min_gain": 1.0}
    }
    workspace.params.write_text(yaml.safe_dump(changed, allow_unicode=True), encoding="utf-8")
    done = run_stpa("retrain", "--workspace", workspace.root)
    assert done.returncode == 0, done.stderr
    page = unescape(workspace.report.read_text(encoding="utf-8"))
    assert re.search(r"mAP [01]\.\d{3} against the champion's [01]\.\d{3}.*95% interval", page)
    assert re.search(r"mAP [01]\.\d{3} of 10 videos against chance 0\.\d{3}", page)
    assert read_json(workspace.summary)["outcome"] == "rejected"
    assert "no_worse_than_champion: Nothing needs to be done" in done.stdout
    [line] = [line for line in done.stdout.splitlines() if " predict " in line]
    tried = subprocess.run(line, shell=True, capture_output=True, text=True)
    assert "by small-fusion version 2 (challenger, rejected)" in tried.stdout, tried.stderr

    video = workspace.videos / read_manifest(workspace.manifest).videos[0].path
    served = load_part(workspace.params, PredictParams)
    prediction = predict(workspace, served, video, tmp_path / "picture.png")
    assert prediction.model == "small-fusion version 1 (champion)"
    assert prediction.class_names == CLASSES
    assert all(0 < probability < 1 for probability in prediction.probabilities)
    assert sum(prediction.probabilities) != pytest.approx(1)
