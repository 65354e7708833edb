"""What decides a network's weights, and so whether it is trained again."""

from pathlib import Path
from typing import Any

import pytest

from stpa.config import Config, Stream
from stpa.data.versioning import DataVersion
from stpa.params import check_params
from stpa.stages.training_job import BASELINE_HEAD, SERVED_HEAD
from stpa.stages.training_key import ONLY_FOR_ATTENTION, training_key
from tests.workspaces import small_params

DATA = DataVersion(manifest="m", videos="v", optical_flow="f")
OTHER_SETTINGS = [
    ("model", "top_layer", "A"),
    ("model", "num_scales", 2),
    ("model", "fusion", "sum"),
    ("model", "downsampling", "average"),
    ("model", "map_norm", "l2"),
    ("model", "score_norm", "none"),
    ("model", "aggregate", "maps"),
    ("train", "interactive_loss", "paper"),
    ("train", "interactive_weight", 0),
    ("train", "attention_loss", "paper"),
    ("train", "attention_weight", 0),
]


def key(head: str, **changes: dict[str, Any]) -> str:
    return training_key(config(**changes), Stream.RGB, head, DATA)


def config(**changes: dict[str, Any]) -> Config:
    return check_params(small_params(**changes), Path("params.yaml"))


def test_all_that_only_attention_uses_is_tried_below() -> None:
    assert {name for _, name, _ in OTHER_SETTINGS} == ONLY_FOR_ATTENTION


@pytest.mark.parametrize(("section", "name", "value"), OTHER_SETTINGS)
def test_an_ablation_of_the_attention_trains_no_baseline_again(
    section: str, name: str, value: Any
) -> None:
    changes = {section: {name: value}}
    assert key(SERVED_HEAD, **changes) != key(SERVED_HEAD)
    assert key(BASELINE_HEAD, **changes) == key(BASELINE_HEAD)


@pytest.mark.parametrize(("name", "value"), [("flow_input", "as_rgb"), ("flow_stem", "mean")])
def test_what_only_flow_uses_trains_no_rgb_network_again(name: str, value: str) -> None:
    now, changed = config(), config(model={name: value})
    for stream in Stream:
        keys = {training_key(each, stream, SERVED_HEAD, DATA) for each in (now, changed)}
        assert len(keys) == (1 if stream is Stream.RGB else 2)


@pytest.mark.parametrize("head", [SERVED_HEAD, BASELINE_HEAD])
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
    assert key(SERVED_HEAD, train=frozen | {name: value}) == key(SERVED_HEAD, train=frozen)


def test_batch_norms_that_learn_from_a_stated_number_of_clips_are_trained_again() -> None:
    learning = {"freeze_batch_norm": "none"}
    auto, whole, two = (
        key(SERVED_HEAD, train=learning | {"clips_at_once": number}) for number in ("auto", None, 2)
    )
    assert auto == whole != two


WARM = {"warm_start": "features"}
PRETRAINED = {"pretrained": True}
FROZEN = PRETRAINED | {"freeze": "backbone"}


@pytest.mark.parametrize("head", [SERVED_HEAD, BASELINE_HEAD])
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
    assert key(SERVED_HEAD, **warm, **judged) == key(SERVED_HEAD, **warm)
