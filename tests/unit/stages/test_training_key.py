"""What decides a network's weights, and so whether it is trained again."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from stpa.config import Config
from stpa.data.versioning import DataVersion
from stpa.models.heads import HEADS
from stpa.params import check_params
from stpa.stages.training_key import ONLY_FOR_PYRAMIDS, training_key
from stpa.streams import FLOW, RGB
from tests.workspaces import small_params

DATA = DataVersion(manifest="m", videos="v", optical_flow="f")
OPTIONS = {
    "scale_fusion": "sum",
    "map_norm": "l2",
    "score_norm": "none",
    "aggregate": "maps",
    "interactive_loss": "paper",
    "interactive_weight": 0,
    "attention_loss": "paper",
    "attention_weight": 0,
}
"""Another value of each option of the head stpa."""
OTHER_SETTINGS = [
    {"top_layer": "A"},
    {"num_scales": 2},
    {"downsampling": "average"},
    *({"heads": {"stpa": {name: value}}} for name, value in OPTIONS.items()),
]


def key(head: str, **changes: dict[str, Any]) -> str:
    return training_key(config(**changes), RGB, head, DATA)


def config(**changes: dict[str, Any]) -> Config:
    return check_params(small_params(**changes), Path("params.yaml"))


def test_all_that_only_attention_uses_is_tried_below() -> None:
    assert set(OPTIONS) == {field.name for field in fields(HEADS["stpa"].Options)}
    assert {name for each in OTHER_SETTINGS for name in each} == {*ONLY_FOR_PYRAMIDS, "heads"}


@pytest.mark.parametrize("changes", OTHER_SETTINGS)
def test_an_ablation_of_the_attention_trains_no_baseline_again(changes: dict[str, Any]) -> None:
    params = small_params()
    if "heads" in changes:
        params["model"]["heads"]["stpa"] |= changes["heads"]["stpa"]
    else:
        params["model"] |= changes
    changed = check_params(params, Path("params.yaml"))
    now = {head: training_key(config(), RGB, head, DATA) for head in ("stpa", "tsn")}
    then = {head: training_key(changed, RGB, head, DATA) for head in ("stpa", "tsn")}
    assert now["stpa"] != then["stpa"]
    assert now["tsn"] == then["tsn"]


@pytest.mark.parametrize(("name", "value"), [("flow_input", "as_rgb"), ("flow_stem", "mean")])
def test_what_only_flow_uses_trains_no_rgb_network_again(name: str, value: str) -> None:
    now, changed = config(), config(model={name: value})
    for stream in (RGB, FLOW):
        keys = {training_key(each, stream, "stpa", DATA) for each in (now, changed)}
        assert len(keys) == (1 if stream is RGB else 2)


@pytest.mark.parametrize("head", ["stpa", "tsn"])
@pytest.mark.parametrize(
    ("section", "name", "value"),
    [("model", "input_mean", [1, 2, 3]), ("train", "seed", 9), ("train", "num_segments", 9)],
)
def test_what_any_network_uses_trains_each_again(
    head: str, section: str, name: str, value: Any
) -> None:
    assert key(head, **{section: {name: value}}) != key(head)


@pytest.mark.parametrize(
    ("name", "value"), [("clips_at_once", 2), ("clips_at_once", None), ("frames_at_once", 2)]
)
def test_what_only_saves_memory_trains_no_network_again(name: str, value: int | None) -> None:
    frozen = {"freeze_batch_norm": "all"}
    assert key("stpa", train=frozen | {name: value}) == key("stpa", train=frozen)


def test_batch_norms_that_learn_from_a_stated_number_of_clips_are_trained_again() -> None:
    learning = {"freeze_batch_norm": "none"}
    auto, whole, two = (
        key("stpa", train=learning | {"clips_at_once": number}) for number in ("auto", None, 2)
    )
    assert auto == whole != two


WARM = {"warm_start": "features"}
PRETRAINED = {"pretrained": True}
FROZEN = PRETRAINED | {"freeze": "backbone"}


@pytest.mark.parametrize("head", ["stpa", "tsn"])
@pytest.mark.parametrize("change", [{"warm_start_steps": 7}, {"warm_start_frames": 7}])
def test_how_a_head_starts_decides_the_weights_of_a_warm_network_alone(
    head: str, change: dict[str, Any]
) -> None:
    warm = key(head, model=PRETRAINED, train=WARM)
    assert warm != key(head, model=PRETRAINED)
    assert key(head, model=PRETRAINED, train=WARM | change) != warm
    assert key(head, model=PRETRAINED, train=change) == key(head, model=PRETRAINED)
    assert key(head, model=FROZEN, train=WARM | change) == key(head, model=FROZEN)


def test_how_videos_are_judged_decides_no_weights_of_a_warm_network() -> None:
    warm = {"model": PRETRAINED, "train": WARM}
    judged = {"evaluate": {"num_segments": 1, "grid": "nested"}}
    assert key("stpa", **warm, **judged) == key("stpa", **warm)
