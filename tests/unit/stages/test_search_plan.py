"""What a space file may hold, and how its faults are told."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from stpa.config import Config
from stpa.data.manifest import Manifest
from stpa.data.storage import Folder
from stpa.errors import ConfigError
from stpa.params import check_params, read_params
from stpa.search.space import SearchPlan
from stpa.stages.feature_files import shared_key
from stpa.stages.search import search_key
from stpa.stages.search_plan import (
    DECIDE_FEATURES,
    DECIDE_VIEWS,
    read_plan,
    searched_streams,
    with_values,
)
from stpa.stages.training_job import unmeasured_job
from stpa.streams import FLOW, RGB, STREAMS, Stream
from tests.workspaces import make_video, small_params

PLAN: dict[str, Any] = {
    "trials": 8,
    "folds": 3,
    "max_concurrent": None,
    "early_stopping": {"grace_epochs": 2, "reduction_factor": 2},
    "space": {
        "train.streams.rgb.learning_rate": {"low": 1e-4, "high": 0.1, "log": True},
        "train.num_segments": {"choices": [3, 5]},
        "model.num_scales": {"low": 1, "high": 3},
    },
}


@pytest.fixture(scope="module")
def config() -> Config:
    return check_params(small_params(), Path("params.yaml"))


def read(tmp_path: Path, config: Config, **changes: Any) -> SearchPlan:
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(copy.deepcopy(PLAN) | changes, sort_keys=False))
    return read_plan(path, config)


def faults(tmp_path: Path, config: Config, **changes: Any) -> str:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, config, **changes)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{tmp_path / 'space.yaml'} has ")


def test_a_sound_file_is_read(tmp_path, config):
    plan = read(tmp_path, config)
    assert plan.model_dump(mode="json")["space"]["train.num_segments"] == {"choices": [3, 5]}
    assert [dim.probes for dim in plan.space.values()] == [(1e-4, 0.1), (3, 5), (1, 3)]
    assert plan.space["model.num_scales"].model_dump() == {"low": 1, "high": 3, "log": False}


def test_all_faults_of_shape_are_told_at_once(tmp_path, config):
    early = {"grace_epoch": 2, "reduction_factor": 1}
    space = {
        "train.seed": {"low": 3, "high": 1},
        "train.momentum": {"low": 0, "high": 0.9, "log": True},
        "model.heads.stpa.scale_fusion": {"choices": ["sum"]},
        "train.weight_decay": {"low": 0.1},
    }
    told = faults(tmp_path, config, trials=0, early_stopping=early, space=space)
    assert told.startswith("8 error(s): ")
    for fault in (
        "trials is 0",
        "missing key early_stopping.grace_epochs",
        "unknown key early_stopping.grace_epoch (did you mean grace_epochs?)",
        "early_stopping.reduction_factor is 1",
        "high 1 must be above low 3",
        "log needs a low above 0, not 0",
        "space.model.heads.stpa.scale_fusion.choices.choices is ['sum']",
        "missing key space.train.weight_decay.range.high",
    ):
        assert fault in told


def test_every_bound_and_choice_is_tried_before_anything_starts(tmp_path, config):
    space = {
        "train.streams.rgb.learning_rat": {"low": 1, "high": 2},
        "train.seed.x": {"low": 1, "high": 2},
        "train.streams.rgb.dropout": {"low": 0.1, "high": 1.5},
        "model.heads.stpa.scale_fusion": {"choices": ["sum", "product", "median"]},
        "data.split": {"low": 1, "high": 3},
        "model.num_scales": {"low": 0, "high": 5},
    }
    told = faults(tmp_path, config, space=space)
    assert told.startswith("7 error(s): ")
    for fault in (
        "unknown key train.streams.rgb.learning_rat (did you mean learning_rate?)",
        "unknown key train.seed.x",
        "train.streams.rgb.dropout is 1.5",
        "model.heads.stpa.scale_fusion: 'median' is unknown: choose from",
        "data.split changes no training on the videos at hand: search keys of model or train",
        "model.num_scales is 0",
        "model.num_scales is 5",
    ):
        assert fault in told


def test_a_file_that_is_none_is_told_as_such(tmp_path, config):
    with pytest.raises(ConfigError, match="does not exist: give the path of a space file"):
        read_plan(tmp_path / "nowhere.yaml", config)
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match=r"must hold trials:, folds:, \.\.\. and space:, not"):
        read_plan(tmp_path / "list.yaml", config)


def test_each_network_is_searched_in_what_it_depends_on(tmp_path, config):
    plan = read(tmp_path, config)
    assert list(plan.of_stream(FLOW)) == ["train.num_segments", "model.num_scales"]
    assert searched_streams(plan, config, None) == [RGB, FLOW]
    alone = read(tmp_path, config, space={"train.streams.rgb.dropout": {"low": 0.1, "high": 0.5}})
    assert searched_streams(alone, config, None) == [RGB]
    with pytest.raises(ConfigError, match="changes the flow networks: it changes rgb"):
        searched_streams(alone, config, "flow")


FROZEN = {"freeze": "backbone", "pretrained": True}


@pytest.mark.parametrize("views", [1, 2])
def test_what_decides_the_stored_features_is_not_searched(tmp_path, views):
    frozen = check_params(
        small_params(model=FROZEN, train={"stored_views": views}), Path("params.yaml")
    )
    told = "decides the stored features, which all trials share: take it out"
    seed = {"train.seed": {"low": 0, "high": 9}}
    size = {"train.input_size": {"low": 48, "high": 64}}
    assert f"train.input_size {told}" in faults(tmp_path, frozen, space=size)
    if views == 1:
        assert read(tmp_path, frozen, space=seed).space
    else:
        assert f"train.seed {told}" in faults(tmp_path, frozen, space=seed)


def test_whether_a_backbone_is_frozen_is_not_searched(tmp_path, config):
    space = {"model.freeze": {"choices": ["none", "backbone"]}}
    assert "model.freeze decides" in faults(tmp_path, config, space=space)


CHANGES = {
    "model.backbone": "resnet18",
    "model.pretrained": __file__,
    "model.backbone_options": {"drop_rate": 0.1},
    "model.input_mean": [1.0, 2.0, 3.0],
    "model.input_std": [4.0, 5.0, 6.0],
    "model.flow_input": "as_rgb",
    "model.flow_stem": "mean",
    "model.top_layer": "B",
    "model.num_scales": 2,
    "model.downsampling": "average",
    "train.input_size": 48,
    "train.short_side": 72,
    "train.stored_views": 3,
    "train.horizontal_flip": True,
    "train.seed": 1,
    "train.streams.rgb.scale_jitter": [0.5],
    "train.streams.flow.scale_jitter": [0.5],
    "train.streams.rgb_difference.scale_jitter": [0.5],
}


def test_all_that_decides_features_is_tried_below():
    assert CHANGES.keys() == DECIDE_FEATURES | DECIDE_VIEWS


@pytest.mark.parametrize("key", CHANGES)
def test_what_is_not_searched_gives_features_another_key(key):
    params = small_params(model=FROZEN, train={"stored_views": 2})
    params["train"]["streams"]["rgb_difference"] = params["train"]["streams"]["rgb"]
    config = check_params(params, Path("params.yaml"))
    other = Config.model_validate(with_values(config, {key: CHANGES[key]}))
    assert keys_of(other) != keys_of(config)


def keys_of(config: Config) -> list[str]:
    """Return what the features of all streams have to be made from."""
    manifest = Manifest((make_video(),))
    jobs = [
        replace(
            unmeasured_job(manifest, config, stream, "stpa", Folder(Path())), motion_deviation=9.0
        )
        for stream in STREAMS.values()
    ]
    return [shared_key(config, job.spec) for job in jobs]


def test_values_are_set_beside_the_others(config):
    before = config.model_dump(mode="json")
    params = with_values(config, {"train.streams.rgb.dropout": 0.5, "model.num_scales": 2})
    assert params["train"]["streams"]["rgb"] == before["train"]["streams"]["rgb"] | {"dropout": 0.5}
    assert params["model"] == before["model"] | {"num_scales": 2}
    assert config.model_dump(mode="json") == before


def test_a_search_is_another_one_for_what_decides_its_findings_alone(tmp_path, config):
    def key(stream: Stream = RGB, training: str = "t", **changes: Any) -> str:
        return search_key(read(tmp_path, config, **changes), stream, training)

    assert key(trials=20, max_concurrent=1) == key()
    others = [
        key(training="u"),
        key(folds=4),
        key(early_stopping=None),
        key(space=PLAN["space"] | {"model.num_scales": {"low": 1, "high": 2}}),
        key(stream=FLOW),
    ]
    assert len({key(), *others}) == 1 + len(others)


def test_an_example_of_the_readme_is_sound(tmp_path):
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    block = next(part for part in readme.split("```yaml\n")[1:] if "space:" in part)
    (tmp_path / "space.yaml").write_text(block.partition("```")[0], encoding="utf-8")
    origin = Path(__file__).parents[3] / "params.yaml"
    values = read_params(origin)
    values["optical_flow"]["estimator"] = "dis"
    assert read_plan(tmp_path / "space.yaml", check_params(values, origin)).trials
