"""`stpa localise` on a small workspace, with this process for its cluster."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from stpa import cli
from stpa.config import Config
from stpa.data.manifest import Manifest, write_manifest
from stpa.data.versioning import DataVersion
from stpa.errors import DataError
from stpa.evaluation.localisation.metrics import KINDS
from stpa.models.checkpoint import save_model
from stpa.models.network import ActionNetwork
from stpa.optical_flow.extract import extract_video
from stpa.results import RESULTS
from stpa.stages import localise as stage
from stpa.stages.localise import find_annotated, localise_on_cluster, name_network
from stpa.workspace import Workspace
from tests.unit.models.test_network import spec_of
from tests.workspaces import make_video, make_workspace, small_params, write_video

FLOW = {"estimator": "farneback", "options": {}, "bound_px": 8.0, "width": 64, "height": 64}
VIDEOS = [
    make_video(f"v{index}", split=split, group=group, num_frames=12)
    for index, (split, group) in enumerate(
        [("test", "g1"), ("test", "g2"), ("test", "g2"), ("test", "g3"), ("train", "g4")]
    )
]
ROWS = ["v0.avi,0,4", "v1.avi,2,3", "v2.avi,0,11", "v4.avi,1,2"]
"""The third action fills its video; the fourth video is not annotated, the fifth is no test."""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    workspace = make_workspace(tmp_path, small_params(optical_flow=FLOW))
    for seed, video in enumerate(VIDEOS):
        path = workspace.videos / video.path
        write_video(path, seed=seed, num_frames=video.num_frames)
        extract_video(
            path,
            workspace.optical_flow / video.flow_path,
            num_frames=video.num_frames,
            source_sha256=video.sha256,
            **FLOW,
        )
    write_manifest(workspace.manifest, Manifest(tuple(VIDEOS)))
    torch.manual_seed(0)
    save_model(tmp_path / "model", ActionNetwork(spec_of("tsn")))

    def map_here(
        config: Config, function: Callable[[Any], Any], items: Sequence[Any]
    ) -> Iterator[tuple[Any, Any]]:
        return ((item, function(item)) for item in reversed(items))

    monkeypatch.setattr(stage, "map_on_cluster", map_here)
    found = DataVersion("m", "v", "f")
    monkeypatch.setattr("stpa.data.versioning.read_version", lambda root: found)
    return workspace


@pytest.fixture
def table(workspace: Workspace) -> Path:
    path = workspace.root / "truth.csv"
    path.write_text("\n".join(["path,first_frame,last_frame", *ROWS]))
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["stpa", "localise", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code is None or isinstance(exit_.value.code, int)
    return exit_.value.code or 0


def test_annotated_test_videos_are_measured_and_written_for_a_program(
    workspace: Workspace,
    table: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(RESULTS, "width", 120)
    model, root = workspace.root / "model", workspace.root
    options = ("--model", model, "--truth", table, "--k", "6", "-w", root)
    assert run(monkeypatch, *options) == 0
    written = json.loads(workspace.localisation.read_text())
    assert (written["num_segments"], written["truth"]) == (6, str(table))
    [(name, network)] = written["networks"].items()
    assert (name, network["actions"], network["recordings"]) == ("rgb tsn", 3, 2)
    assert set(network["maps"]) == {
        *("evidence", "evidence, new head", "uniform", "random", "centre", "|flow|")
    }
    uniform = network["maps"]["uniform"]
    assert uniform.keys() == KINDS["time"].keys()
    # K = 6 of 12 frames: 1, 3, 5 ... 11. Two of them, and then one, are in the action.
    assert uniform["temporal_energy"]["mean"] == pytest.approx((2 / 6 + 1 / 6) / 2)
    assert uniform["temporal_energy"]["left_out"] == 1
    shown = capsys.readouterr().out
    assert "rgb tsn, time: 3 actions of 2 recordings" in shown
    [row] = [line for line in shown.splitlines() if "uniform" in line]
    assert "0.250" in row
    [row] = [line for line in shown.splitlines() if "actions left out" in line]
    assert row.count("1") == len(KINDS["time"])
    assert "space" not in shown


def test_results_do_not_depend_on_the_order_in_which_videos_come(
    workspace: Workspace, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = cli.open_workspace(workspace.root)[1]
    annotated = find_annotated(workspace, table)
    [folder] = name_network(workspace.root / "model").values()
    reports: list[tuple[int, int]] = []

    def measure() -> Any:
        return localise_on_cluster(
            workspace,
            config,
            folder,
            annotated,
            num_segments=6,
            perturbs=False,
            progress=lambda *report: reports.append(report),
        )

    backwards = measure()
    monkeypatch.setattr(
        stage, "map_on_cluster", lambda _config, function, items: ((i, function(i)) for i in items)
    )
    # As text, since NaN is not equal to itself.
    assert str(measure()) == str(backwards)
    assert reports == [(1, 3), (2, 3), (3, 3)] * 2


def test_without_truth_it_is_told_what_to_give(workspace: Workspace, table: Path) -> None:
    with pytest.raises(DataError, match="the dataset does not say it of the 4 test videos: give a"):
        find_annotated(workspace, None)
    table.write_text("path,first_frame,last_frame\nanother.avi,0,1")
    with pytest.raises(DataError, match=r"truth\.csv names none of the 4 test videos"):
        find_annotated(workspace, table)


def test_a_model_folder_is_one_network(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = workspace.root / "model"
    assert run(monkeypatch, "--model", folder, "--head", "tsn", "-w", workspace.root) == 1
    assert "--model is one network" in capsys.readouterr().err


def test_networks_that_are_not_trained_are_named(
    workspace: Workspace,
    table: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("stpa.stages.plan.read_version", lambda root: DataVersion("m", "v", "f"))
    assert run(monkeypatch, "--truth", table, "-w", workspace.root) == 1
    assert "no rgb network with head stpa is trained" in capsys.readouterr().err


def test_paths_of_a_table_that_no_video_has_are_told(
    workspace: Workspace, table: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    with table.open("a") as file:
        file.write("\nmisspelt.mp4,1,2")
    model, root = workspace.root / "model", workspace.root
    with caplog.at_level("WARNING"):
        assert run(monkeypatch, "--model", model, "--truth", table, "-w", root) == 0
    assert f"{table} names 1 videos that are not there: 'misspelt.mp4'" in caplog.text
