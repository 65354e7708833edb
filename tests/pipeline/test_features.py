"""Frozen networks, from videos to scores, on real videos, DVC and Ray."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from safetensors.torch import load_file, save_file

from stpa.compute.heads import fit_head_on_cluster
from stpa.compute.tasks import cluster
from stpa.config import Config
from stpa.data.manifest import read_manifest
from stpa.data.versioning import tracked_hash
from stpa.errors import ConfigError, DataError, ModelError
from stpa.files import digest_file
from stpa.models.checkpoint import WEIGHTS_FILE
from stpa.models.network import ActionNetwork
from stpa.params import check_params
from stpa.search.study import Outcome
from stpa.stages import held_out
from stpa.stages import plan as plan_of
from stpa.stages.candidate import gather_candidate
from stpa.stages.choose import choose_head
from stpa.stages.evaluate import evaluate, find_scores
from stpa.stages.extract import extract
from stpa.stages.features import store_features
from stpa.stages.fuse import find_fusion, fuse
from stpa.stages.held_out import folds_of, score_held_out
from stpa.stages.ingest import ingest
from stpa.stages.plan import configured_sweep, make_plan
from stpa.stages.search import search
from stpa.stages.search_plan import read_plan
from stpa.stages.sweep import sweep_on_cluster
from stpa.stages.train import TrainedModel, find_trained, train
from stpa.stages.training_job import training_job
from stpa.streams import FLOW, RGB
from stpa.workspace import Workspace
from tests.unit.training.test_fit import assert_same_tensors
from tests.unit.training.test_fit import train as fit_here
from tests.workspaces import make_workspace, small_params, write_dataset

NUM_VIDEOS = 8
PLAN: dict[str, Any] = {
    "trials": 2,
    "folds": 2,
    "max_concurrent": None,
    "early_stopping": None,
    "space": {"train.streams.rgb.learning_rate": {"choices": [0.001, 0.004]}},
}


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Freeze a backbone whose weights are random, but in a file."""
    weights = tmp_path_factory.mktemp("weights") / "backbone.safetensors"
    save_file(timm.create_model("mobilenetv3_small_050").state_dict(), weights)
    return small_params(
        model={"freeze": "backbone", "pretrained": str(weights)},
        train={"stored_views": 2, "freeze_batch_norm": "pretrained", "short_side": 80},
        evaluate={"grid": "nested", "late_fusion": "fitted"},
        promotion={"candidate": "auto"},
    )


@pytest.fixture(scope="module")
def config(params: dict[str, Any]) -> Config:
    return check_params(params, Path("params.yaml"))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, params, config: Config):
    """A workspace whose features are stored; each test leaves it so."""
    folder = tmp_path_factory.mktemp("frozen")
    workspace = make_workspace(folder / "workspace", params)
    with cluster(None):
        ingest(workspace, config, write_dataset(folder / "source", num_frames=12))
        extract(workspace, config)
        with pytest.raises(DataError, match=r"rgb features of 4 of 4 .*: run `stpa features`"):
            training_job(workspace, config, RGB, "tsn")
        store_features(workspace, config)
        yield workspace


def stored(workspace: Workspace) -> dict[str, str]:
    """Map each file of features to the digest of its content."""
    files = workspace.features.rglob("*.safetensors")
    return {str(path.relative_to(workspace.features)): digest_file(path) for path in files}


def test_each_video_has_features_of_both_streams_which_are_versioned(workspace: Workspace) -> None:
    videos = read_manifest(workspace.manifest).usable
    assert len(videos) == NUM_VIDEOS
    assert set(stored(workspace)) == {
        f"{stream}/{video.feature_path}" for stream in (RGB, FLOW) for video in videos
    }
    assert tracked_hash(workspace.features)
    assert not list((workspace.runs / "features").iterdir())


def test_only_what_is_missing_or_damaged_is_made_again_and_equals_it(
    workspace: Workspace, config: Config
) -> None:
    before = stored(workspace)
    first, second, *others = sorted(before)
    times = {name: (workspace.features / name).stat().st_mtime_ns for name in others}
    (workspace.features / first).unlink()
    (workspace.features / second).chmod(0o644)
    (workspace.features / second).write_bytes(b"damaged")
    (workspace.features / "rgb" / "gone.safetensors").write_bytes(b"of a video that left")
    reports: list[tuple[int, int]] = []
    store_features(workspace, config, lambda done, total, *_: reports.append((done, total)))
    assert stored(workspace) == before
    assert reports == [(2 * NUM_VIDEOS - 2 + new, 2 * NUM_VIDEOS) for new in range(3)]
    assert {name: (workspace.features / name).stat().st_mtime_ns for name in others} == times


@pytest.mark.parametrize("head", ["stpa", "tsn"])
def test_scores_from_features_are_those_of_the_whole_network(
    workspace: Workspace, config: Config, head: str
) -> None:
    plan = make_plan(workspace, config)
    network = plan.network(FLOW, head)
    model = train(plan, network)
    assert train(plan, network).reused
    scores = evaluate(plan, network)
    assert find_trained(network).folder == model.folder
    videos = read_manifest(workspace.manifest).select("test")
    whole = sweep_on_cluster(
        workspace, config, FLOW, model.folder, videos, configured_sweep(config)
    )
    for k, logits in scores.logits.items():
        seen = np.stack([whole[video.video_id][k] for video in videos])
        np.testing.assert_allclose(logits, seen, atol=0.02 * np.abs(seen).max())


def test_a_head_learns_on_the_cluster_what_it_learns_here(
    workspace: Workspace, config: Config, tmp_path: Path
) -> None:
    job = training_job(workspace, config, RGB, "stpa")
    epochs: list[float] = []
    files = fit_head_on_cluster(
        job, compute=config.compute, on_epoch=lambda metrics: epochs.append(metrics["epoch"])
    )
    assert epochs == list(range(1, job.num_epochs + 1))
    (tmp_path / WEIGHTS_FILE).write_bytes(files[WEIGHTS_FILE])
    alone = fit_here(job, tmp_path / "here")[-1]
    assert_same_tensors(tmp_path / WEIGHTS_FILE, alone / WEIGHTS_FILE)


def test_what_keeps_a_head_from_training_comes_with_its_own_words(
    workspace: Workspace, config: Config
) -> None:
    job = training_job(workspace, config, RGB, "tsn")
    path = workspace.features / "rgb" / job.videos[0].feature_path
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    try:
        with pytest.raises(DataError, match=re.escape(f"features of {job.videos[0]} cannot be")):
            fit_head_on_cluster(job, compute=config.compute, on_epoch=lambda metrics: None)
    finally:
        path.write_bytes(content)


def test_a_search_trains_heads_on_the_stored_features(workspace: Workspace, config: Config) -> None:
    before = stored(workspace)
    plan = workspace.root / "space.yaml"
    plan.write_text(yaml.safe_dump(PLAN))
    result = search(workspace, config, read_plan(plan, config), RGB, "tsn")
    assert [trial.outcome for trial in result.trials] == [Outcome.FINISHED] * PLAN["trials"]
    assert stored(workspace) == before


def test_flow_that_is_not_today_s_is_extracted_first(
    workspace: Workspace, params: dict[str, Any]
) -> None:
    flow = params["optical_flow"] | {"bound_px": 7.0}
    config = check_params(params | {"optical_flow": flow}, Path("params.yaml"))
    with pytest.raises(DataError, match=r"flow of 8 of 8 videos .*: run `stpa extract` first"):
        store_features(workspace, config)


def test_other_weights_make_other_features(
    workspace: Workspace, params: dict[str, Any], tmp_path: Path
) -> None:
    weights = load_file(params["model"]["pretrained"])
    weights["conv_stem.weight"] = weights["conv_stem.weight"] * 0.5
    save_file(weights, tmp_path / "other.safetensors")
    other = params | {
        "model": params["model"] | {"pretrained": str(tmp_path / "other.safetensors")}
    }
    config = check_params(other, Path("params.yaml"))
    with pytest.raises(DataError, match="flow features of 4 of 4 videos are not stored"):
        training_job(workspace, config, FLOW, "tsn")


def test_features_of_a_network_that_is_trained_as_a_whole_are_refused(workspace: Workspace) -> None:
    config = check_params(small_params(), Path("params.yaml"))
    with pytest.raises(ConfigError, match=r"train\.warm_start is features, but both are none"):
        store_features(workspace, config)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")  # of Ray's own code
def test_a_whole_network_starts_warm_on_the_cluster_as_it_does_here(
    workspace: Workspace, config: Config, params: dict[str, Any], tmp_path: Path
) -> None:
    warm = check_params(
        params
        | {
            "model": params["model"] | {"freeze": "none"},
            "train": params["train"] | {"warm_start": "features"},
        },
        Path("params.yaml"),
    )
    with pytest.raises(DataError, match="flow features of 4 of 4 videos are not stored"):
        train_flow(workspace, warm)
    store_features(workspace, warm)
    try:
        model = train_flow(workspace, warm)
        job = training_job(workspace, warm, FLOW, "stpa")
        here = load_file(fit_here(job, tmp_path)[-1] / WEIGHTS_FILE)
    finally:
        store_features(workspace, config)
    assert job.starts_warm
    on_cluster = load_file(model.folder / WEIGHTS_FILE)
    for name, value in here.items():
        torch.testing.assert_close(on_cluster[name], value, rtol=1e-3, atol=1e-4)
    start = ActionNetwork(job.spec, warm.model.pretrained).state_dict()
    stem = "backbone.pyramid.conv_stem.weight"
    assert not torch.equal(on_cluster[stem], start[stem])  # the whole network has learnt


def train_flow(workspace: Workspace, config: Config) -> TrainedModel:
    plan = make_plan(workspace, config)
    return train(plan, plan.network(FLOW, "stpa"))


class TestHeldOut:
    """Training videos scored by heads that have not seen their recordings."""

    def test_no_fold_learns_from_a_recording_that_it_scores(
        self, workspace: Workspace, config: Config
    ) -> None:
        job = training_job(workspace, config, RGB, "tsn")
        folds = folds_of(job)
        scored = {video.video_id for fold in folds for video in fold.held_out}
        assert scored == {video.video_id for video in job.videos}
        for fold in folds:
            learnt_from = {video.group for video in fold.job.videos}
            assert learnt_from.isdisjoint(video.group for video in fold.held_out)
            assert {label for video in fold.job.videos for label in video.labels} == set(
                job.class_names
            )

    def test_each_training_video_is_scored_once_for_its_inputs(
        self, workspace: Workspace, config: Config, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plan = make_plan(workspace, config)
        scores = score_held_out(plan, plan.network(RGB, "tsn"))
        assert scores is not None
        expected = [video.video_id for video in read_manifest(workspace.manifest).select("train")]
        assert list(scores.video_ids) == expected
        assert list(scores.logits) == [config.evaluate.num_segments]
        monkeypatch.setattr(held_out, "map_on_cluster", None)
        again = score_held_out(plan, plan.network(RGB, "tsn"))
        assert again is not None
        np.testing.assert_array_equal(again.at(3), scores.at(3))
        other = config.model_copy(
            update={"train": config.train.model_copy(update={"weight_decay": 0.5})}
        )
        anew = make_plan(workspace, other)
        with pytest.raises(TypeError):  # other inputs: scored anew
            score_held_out(anew, anew.network(RGB, "tsn"))

    def test_new_optical_flow_holds_out_both_streams_again(
        self, workspace: Workspace, config: Config, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = make_plan(workspace, config)
        other = replace(made.data, optical_flow="another")
        monkeypatch.setattr(plan_of, "read_version", lambda root: other)
        remade = make_plan(workspace, config)
        assert remade.network(RGB, "tsn").key == made.network(RGB, "tsn").key
        for network in made.networks:
            now = remade.network(network.stream, network.head)
            assert now.held_out_scores != network.held_out_scores

    def test_they_weigh_the_streams_and_choose_the_head(
        self, workspace: Workspace, config: Config
    ) -> None:
        plan = make_plan(workspace, config)
        for network in plan.networks:
            train(plan, network)
            evaluate(plan, network)
        with pytest.raises(ModelError, match="no training videos are held out from a flow tsn yet"):
            find_fusion(plan, "tsn")
        for network in plan.networks:
            score_held_out(plan, network)
        choice = choose_head(plan)
        # Of random features: which one it is, is left to chance.
        assert re.match(r"on training videos held out, \w+ is ahead of \w+ by", choice.reason)
        candidate = gather_candidate(plan)
        assert candidate.head == choice.head
        fusion = find_fusion(plan, choice.head)
        assert candidate.fusion == fusion
        assert fusion.weights is not None
        rgb, flow = map(find_scores, plan.of_head(choice.head))
        np.testing.assert_allclose(
            fuse(plan, choice.head).at(3),
            fusion.weights["rgb"] * rgb.at(3) + fusion.weights["flow"] * flow.at(3),
        )
        named = config.model_copy(
            update={"promotion": config.promotion.model_copy(update={"candidate": "stpa"})}
        )
        assert choose_head(make_plan(workspace, named)).head == "stpa"
