"""A registered fusion is judged as it would serve."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from stpa.config import Config, OpticalFlowConfig
from stpa.data.manifest import Manifest
from stpa.data.versioning import DataVersion
from stpa.evaluation import predict
from stpa.models.checkpoint import load_model
from stpa.models.network import ActionNetwork
from stpa.registry.candidate import Serving
from stpa.registry.judgement import Judgement, MultiLabelJudgement, SingleLabelJudgement
from stpa.stages import evaluate as stage
from stpa.stages.evaluate import judge_served
from stpa.stages.plan import Plan
from stpa.workspace import Workspace
from tests.unit.models.test_network import SPEC
from tests.unit.stages.test_sweep import VIDEOS, make_config, make_material
from tests.workspaces import SMALL_FLOW


def map_here(
    config: Config, function: Callable[[Any], Any], items: Sequence[Any]
) -> Iterator[tuple[Any, Any]]:
    return ((item, function(item)) for item in reversed(items))


@pytest.mark.parametrize(
    ("labels", "kind"), [(("left",), SingleLabelJudgement), ((), MultiLabelJudgement)]
)
@pytest.mark.parametrize("why", ["made otherwise", "its stream was given up"])
def test_flow_that_is_not_stored_is_taken_anew_and_seen_where_workers_compute(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    labels: tuple[str, ...],
    kind: type[Judgement],
    why: str,
) -> None:
    videos = (VIDEOS[0].model_copy(update={"labels": labels}), *VIDEOS[1:])
    workspace = Workspace(tmp_path)
    make_material(workspace)
    for stored in workspace.optical_flow.iterdir():
        stored.unlink()
    devices = []

    def load(folder: Path, device: str) -> ActionNetwork:
        devices.append(device)
        return load_model(folder)

    monkeypatch.setattr(predict, "load_shared", load)
    monkeypatch.setattr(stage, "map_on_cluster", map_here)
    monkeypatch.setattr(stage, "read_manifest", lambda _: Manifest(videos))
    config = make_config(workspace, "exact", gpus_per_worker=1)
    optical_flow = OpticalFlowConfig.model_validate(SMALL_FLOW | {"bound_px": 20.0})
    if why == "its stream was given up":
        optical_flow = config.optical_flow
        streams = {"rgb": config.train.streams["rgb"]}
        train = config.train.model_copy(update={"streams": streams})
        config = config.model_copy(update={"train": train})
    judgement = judge_served(
        Plan(
            workspace,
            config,
            DataVersion("videos", "manifest", "flow"),
            networks=(),
        ),
        {"rgb": tmp_path / "rgb", "flow": tmp_path / "flow"},
        Serving(
            class_names=SPEC.class_names,
            num_segments=4,
            num_crops=1,
            late_fusion="average_logits",
            optical_flow=optical_flow,
        ),
    )
    assert judgement.video_ids == tuple(video.video_id for video in VIDEOS)
    assert type(judgement) is kind
    assert set(devices) == {"cuda"}
