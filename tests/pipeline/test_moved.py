"""A workspace with a champion, after it was copied and then moved."""

import shutil
from pathlib import Path

import pytest
import yaml

from stpa.config import Config
from stpa.data.manifest import read_manifest
from stpa.params import load_config, load_part
from stpa.params.parts import PredictParams
from stpa.registry.tracking import default_uri, open_tracker
from stpa.registry.tracking.connection import unheard_warnings
from stpa.stages.evaluate import evaluate
from stpa.stages.plan import make_plan
from stpa.stages.predict import predict
from stpa.stages.promote import promote
from stpa.streams import RGB
from stpa.workspace import Workspace, exclusive


@pytest.fixture
def copy(retrained: Workspace, tmp_path: Path) -> Workspace:
    return Workspace(shutil.copytree(retrained.root, tmp_path / "cöpy", symlinks=True))


def files(workspace: Workspace) -> dict[Path, tuple[int, int]]:
    """Map each file to its size and the time it was written."""
    found = [path for path in workspace.root.rglob("*") if path.is_file()]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def judged_at_another_k(workspace: Workspace) -> Config:
    """Change the parameters such that other models than the champion are to be registered."""
    params = yaml.safe_load(workspace.params.read_text(encoding="utf-8"))
    params["evaluate"]["num_segments"] = 1
    params["promotion"]["rules"]["no_worse_than_champion"]["min_gain"] = -1.0
    workspace.params.write_text(yaml.safe_dump(params, allow_unicode=True), encoding="utf-8")
    return load_config(workspace.params)


def test_it_predicts_and_promotes_where_it_is_and_leaves_the_original_alone(
    retrained: Workspace, copy: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(retrained)
    config = judged_at_another_k(copy)
    with exclusive(copy):
        plan = make_plan(copy, config)
        for network in plan.of_head("stpa"):
            evaluate(plan, network)
        assert promote(plan).champion_version == 2
    assert files(retrained) == before

    moved = Workspace(tmp_path / "a shelf" / "moved #1")
    moved.root.parent.mkdir()
    copy.root.rename(moved.root)
    video = moved.videos / read_manifest(moved.manifest).select("test")[0].path
    params = load_part(moved.params, PredictParams)
    prediction = predict(moved, params, video, tmp_path / "picture.png")
    assert prediction.model == "small-fusion version 2 (champion)"

    with unheard_warnings():
        import mlflow.pyfunc
    monkeypatch.setenv("MLFLOW_TRACKING_URI", default_uri(moved))
    [scores] = mlflow.pyfunc.load_model("models:/small-fusion@champion").predict([str(video)])
    best = prediction.class_names[scores.index(max(scores))]
    assert [best] == [name for name, _probability in prediction.best(1)]
    tracker = open_tracker(moved, config.tracking)
    for version in tracker.client.search_model_versions():
        assert (version.source or "").startswith(moved.mlflow.resolve().as_uri())
    assert files(retrained) == before
    assert not copy.root.exists()


def test_a_run_holds_what_was_judged_and_the_series_over_k_apart(copy: Workspace) -> None:
    tracker = open_tracker(copy, load_config(copy.params).tracking)
    config = judged_at_another_k(copy)
    with exclusive(copy):
        plan = make_plan(copy, config)
        scores = evaluate(plan, plan.network(RGB, "stpa"))
    run_id = tracker.find_run(scores.model_key) or ""
    run = tracker.client.get_run(run_id)
    assert run.data.tags["test.num_segments"] == "1"
    assert run.data.metrics["test/top1"] == scores.headline(1)
    assert run.data.metrics["k_sweep/top1"] == scores.headline(3)  # that of the last step
    history = tracker.client.get_metric_history(run_id, "k_sweep/top1")
    assert {entry.step: entry.value for entry in history} == {k: scores.headline(k) for k in (1, 3)}
