"""A model folder is loaded once for the many short tasks of a process."""

from pathlib import Path

from stpa.models.checkpoint import load_shared, save_model
from stpa.models.network import ActionNetwork
from stpa.streams import STREAMS
from tests.unit.models.test_network import SPEC


def test_the_networks_of_a_fusion_stay_loaded_and_no_others(tmp_path: Path) -> None:
    *fused, other = [tmp_path / name for name in (*STREAMS, "other")]
    for folder in (*fused, other):
        save_model(folder, ActionNetwork(SPEC))
    loaded = [load_shared(folder, "cpu") for folder in fused]
    for folder, network in zip(fused, loaded, strict=True):
        assert load_shared(folder, "cpu") is network
    load_shared(other, "cpu")
    assert load_shared(fused[0], "cpu") is not loaded[0]
