"""Reading a part of a params file alone."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from stpa.config import Config
from stpa.errors import ConfigError
from stpa.params import load_part, read_params
from stpa.params.parts import PagesParams, PredictParams, RestoreParams, RollbackParams
from stpa.presets import preset_path

PARTS = (PagesParams, PredictParams, RestoreParams, RollbackParams)
SERVING: dict[str, Any] = {
    "tracking": {"uri": None, "experiment": "x"},
    "promotion": {"model_name": "x"},
    "data": {
        "decode_deadline_seconds": 3,
        "max_frames": 9,
        "max_megapixels": None,
        "decode_memory_gib": 1,
        "remote": "r",
    },
}


@pytest.fixture
def write(tmp_path: Path):
    """Write a params file."""

    def write(params: dict[str, Any]) -> Path:
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(params), encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_read_from_the_whole_and_from_itself(write, part):
    whole = read_params(preset_path("standard"))
    assert load_part(write(whole), part).tracking == Config.model_validate(whole).tracking
    assert load_part(write(SERVING), part).tracking.experiment == "x"


def test_a_deadline_a_name_and_a_remote_are_those_of_the_file(write):
    assert load_part(write(SERVING), PredictParams).data.decode_deadline_seconds == 3
    assert load_part(write(SERVING), RollbackParams).promotion.model_name == "x"
    assert load_part(write(SERVING), RestoreParams).data.remote == "r"


@pytest.mark.parametrize("broken", [{"train": 3}, {"data": {**SERVING["data"], "x": 1}}, {3: 4}])
def test_errors_elsewhere_do_not_matter(write, broken):
    load_part(write(SERVING | broken), PredictParams)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ({"tracking": 3}, "has 1 error(s): tracking is 3"),
        ({"data": {}}, "has 1 error(s): missing key data.decode_deadline_seconds"),
        ({"promotion": {"model_name": "a/b"}}, "promotion.model_name 'a/b' is no name for MLflow"),
    ],
)
def test_errors_in_the_part_are_one_line(write, broken, told):
    with pytest.raises(ConfigError) as caught:
        load_part(write(SERVING | broken), PredictParams)
    assert told in str(caught.value)
