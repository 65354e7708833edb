"""What MLflow holds of the runs of a retraining, besides the models themselves."""

from pathlib import Path

import pytest

from stpa.config import Config
from stpa.data.versioning import read_version
from stpa.evaluation.scores import read_scores
from stpa.files import read_json
from stpa.params import load_config
from stpa.registry.tracking import Tracker, open_tracker
from stpa.workspace import Workspace
from tests.workspaces import all_runs, kind_of

NETWORKS = {"rgb-stpa", "flow-stpa", "rgb-tsn", "flow-tsn"}


@pytest.fixture
def config(retrained: Workspace) -> Config:
    return load_config(retrained.params)


@pytest.fixture
def tracker(retrained: Workspace, config: Config) -> Tracker:
    return open_tracker(retrained, config.tracking)


def test_the_fusions_run_has_its_sweep_its_scores_and_the_test_against_the_baseline(
    retrained: Workspace, tracker: Tracker, tmp_path: Path
) -> None:
    summary, client = read_json(retrained.summary), tracker.client
    version = client.get_model_version_by_alias("small-fusion", "champion")
    run_id = version.run_id or ""
    history = client.get_metric_history(run_id, "k_sweep/top1")
    assert {str(entry.step): entry.value for entry in history} == summary["k_sweep"]["fused"]
    assert len(history) == len(summary["k_sweep"]["fused"])

    metrics = client.get_run(run_id).data.metrics
    assert metrics["test/top1"] == summary["fused_top1"]
    assert metrics["test/tsn_fused_top1"] == summary["tsn_fused_top1"]
    gain = summary["fused_top1"] - summary["tsn_fused_top1"]
    assert metrics["test/gain_over_tsn"] == pytest.approx(gain)
    assert metrics["test/gain_over_tsn_low"] <= gain <= metrics["test/gain_over_tsn_high"]
    assert 0 < metrics["test/p_value_against_tsn"] <= 1

    artifact = client.download_artifacts(run_id, "scores/fused-stpa.parquet", str(tmp_path))
    scores = read_scores(Path(artifact))
    assert {str(k) for k in scores.logits} == summary["k_sweep"]["fused"].keys()


def test_names_inputs_and_metrics_tell_runs_apart(
    retrained: Workspace, tracker: Tracker, config: Config
) -> None:
    summary, data = read_json(retrained.summary), read_version(retrained.root)
    for run in all_runs(tracker):
        key = run.data.tags["stpa.key"]
        assert run.info.run_name == (
            f"{kind_of(run)}-{key[:6]} {config.model.backbone} data-{data.id[:6]}"
        )
        inputs = {each.tags[0].value: each.dataset for each in run.inputs.dataset_inputs}
        is_training = kind_of(run) in NETWORKS
        assert inputs.keys() == {"testing", *(["training"] if is_training else [])}
        assert {each.digest for each in inputs.values()} == {data.id}
        stream, head = kind_of(run).split("-")
        name = f"{'fused' if stream == 'fusion' else stream}_top1"
        judged = summary[name if head == "stpa" else f"{head}_{name}"]
        assert run.data.metrics["test/top1"] == judged
        groups = {metric.partition("/")[0] for metric in run.data.metrics}
        assert groups == {"test", "k_sweep", *(["train", "system"] if is_training else [])}


def test_networks_are_below_their_fusion(tracker: Tracker) -> None:
    [fusion] = [run for run in all_runs(tracker) if kind_of(run) == "fusion-stpa"]
    below = {
        kind_of(run)
        for run in all_runs(tracker)
        if run.data.tags.get("mlflow.parentRunId") == fusion.info.run_id
    }
    assert below == {"rgb-stpa", "flow-stpa"}
