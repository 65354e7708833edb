"""What a retraining works out about a workspace, counted."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
from safetensors.torch import save_file

from stpa import weights
from stpa.flows.retrain import retrain
from stpa.flows.server import keep_records, start_server
from stpa.stages import plan
from tests.workspaces import make_workspace, small_params, write_dataset


@pytest.mark.slow
def test_a_retraining_resolves_each_network_once_and_reads_its_weights_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrained = tmp_path / "weights.safetensors"
    save_file(timm.create_model("mobilenetv3_small_050").state_dict(), pretrained)
    counts: Counter[str] = Counter()

    def counted(function: Callable[..., Any], name_of: Callable[..., str]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            counts[name_of(*arguments)] += 1
            return function(*arguments)

        return call

    monkeypatch.setattr(
        plan,
        "training_key",
        counted(plan.training_key, lambda _config, stream, head, _data: f"{stream} {head}"),
    )
    monkeypatch.setattr(weights, "digest_file", counted(weights.digest_file, str))
    params = small_params(model={"pretrained": str(pretrained)})
    workspace = make_workspace(tmp_path / "work", params)
    keep_records(workspace.prefect)
    with start_server(workspace.prefect):
        retrain(workspace.root, write_dataset(tmp_path / "source", num_frames=8))
    networks = ("rgb stpa", "flow stpa", "rgb tsn", "flow tsn")
    assert counts == dict.fromkeys((*networks, str(pretrained)), 1)
