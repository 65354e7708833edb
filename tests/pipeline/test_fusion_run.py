"""What MLflow holds of a fusion, beside the model itself."""

from pathlib import Path

import pytest

from stpa.config import Config
from stpa.evaluation.scores import read_scores
from stpa.files import read_json
from stpa.params import load_config
from stpa.registry.tracking import open_tracker
from stpa.workspace import Workspace


@pytest.fixture
def config(retrained: Workspace) -> Config:
    return load_config(retrained.params)


def test_the_fusions_run_has_its_sweep_its_scores_and_the_test_against_the_baseline(
    retrained: Workspace, config: Config, tmp_path
) -> None:
    summary, client = read_json(retrained.summary), open_tracker(retrained, config.tracking).client
    version = client.get_model_version_by_alias("small-fusion", "champion")
    run_id = version.run_id or ""
    history = client.get_metric_history(run_id, "k_sweep/top1")
    assert {str(entry.step): entry.value for entry in history} == summary["k_sweep"]["fused"]
    assert len(history) == len(summary["k_sweep"]["fused"])

    metrics = client.get_run(run_id).data.metrics
    assert metrics["test/tsn_fused_top1"] == summary["tsn_fused_top1"]
    gain = summary["fused_top1"] - summary["tsn_fused_top1"]
    assert metrics["test/gain_over_tsn"] == pytest.approx(gain)
    assert metrics["test/gain_over_tsn_low"] <= gain <= metrics["test/gain_over_tsn_high"]
    assert 0 < metrics["test/p_value_against_tsn"] <= 1

    artifact = client.download_artifacts(run_id, "scores/fused-stpa.parquet", str(tmp_path))
    scores = read_scores(Path(artifact))
    assert {str(k) for k in scores.logits} == summary["k_sweep"]["fused"].keys()
