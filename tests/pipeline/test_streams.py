"""Workspaces with other streams than RGB and optical flow, by the real command line."""

from pathlib import Path

import pytest

from stpa.files import read_json
from tests.workspaces import make_workspace, run_stpa, small_params, write_dataset

pytestmark = pytest.mark.slow


def params_of(*streams: str) -> dict:
    params = small_params()
    rgb = params["train"]["streams"]["rgb"] | {"epochs": 1}
    params["train"]["streams"] = dict.fromkeys(streams, rgb)
    params["model"]["heads"] = {"tsn": {}}
    params["promotion"]["candidate"] = "tsn"
    return params


@pytest.mark.parametrize("streams", [("rgb",), ("rgb", "rgb_difference"), ("flow",)])
def test_any_streams_are_trained_fused_served_and_drawn(
    streams: tuple[str, ...], tmp_path: Path
) -> None:
    workspace = make_workspace(tmp_path / "work", params_of(*streams))
    source = write_dataset(tmp_path / "source", num_frames=8)
    done = run_stpa("retrain", source, cwd=workspace.root)
    assert done.returncode == 0, done.stderr
    summary = read_json(workspace.summary)
    assert {f"{stream}_top1" for stream in (*streams, "fused")} <= summary.keys()
    assert summary["outcome"] == "promoted"
    flows = list(workspace.optical_flow.rglob("*.avi"))
    assert bool(flows) == ("flow" in streams)
    video = next(source.rglob("*.avi"))
    answer = run_stpa("predict", video, "--picture", tmp_path / "a.png", cwd=workspace.root)
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "a.png").stat().st_size > 0
    again = run_stpa("retrain", cwd=workspace.root)
    assert "unchanged: videos, parameters and code" in again.stdout, again.stderr
