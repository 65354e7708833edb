import pytest
import torch

from stpa.params import load_config
from stpa.stages.initialise import initialise
from stpa.workspace import Workspace
from tests.workspaces import REPOSITORY


@pytest.mark.parametrize(("has_gpu", "estimator"), [(True, "tvl1"), (False, "dis")])
def test_the_estimator_is_settled_once_by_the_machine_at_hand(
    tmp_path, monkeypatch, has_gpu, estimator
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    workspace = Workspace(tmp_path)
    initialise(workspace, REPOSITORY / "params.yaml")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: not has_gpu)
    assert load_config(workspace.params).optical_flow.estimator == estimator
