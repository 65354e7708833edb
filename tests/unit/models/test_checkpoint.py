"""A model folder is loaded once for the many short tasks of a process."""

from pathlib import Path

from stpa.models.checkpoint import load_shared, save_model
from stpa.models.network import ActionNetwork
from tests.unit.models.test_network import SPEC


def test_two_networks_stay_loaded_and_no_third(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("rgb", "flow", "other")]
    for folder in folders:
        save_model(folder, ActionNetwork(SPEC))
    rgb, flow = (load_shared(folder, "cpu") for folder in folders[:2])
    assert rgb is load_shared(folders[0], "cpu")
    assert flow is load_shared(folders[1], "cpu")
    load_shared(folders[2], "cpu")
    assert rgb is not load_shared(folders[0], "cpu")
