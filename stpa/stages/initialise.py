"""Make a workspace from a params file."""

import shutil
from pathlib import Path

import yaml

from stpa.errors import ConfigError
from stpa.files import atomic_path, write_text
from stpa.params import check_params, read_params
from stpa.workspace import Workspace

PIPELINE = Path(__file__).parents[2] / "dvc.yaml"
"""The stages that DVC keeps, the same in every workspace."""


def default_estimator() -> str:
    """Return "tvl1", TSN's, where this machine has a GPU: a CPU takes half a second a pair."""
    import torch

    return "tvl1" if torch.cuda.is_available() else "dis"


def initialise(workspace: Workspace, params: Path) -> None:
    """Write the workspace's params.yaml and dvc.yaml; data and results that are there stay.

    The written file stands alone: it extends no other, its paths are absolute, and an
    `optical_flow.estimator` of "auto" is settled, so that the data do not depend on who extracts.
    """
    if workspace.params.exists() and params.resolve() == workspace.params.resolve():
        raise ConfigError(f"{params} is the workspace's own params file: there is nothing to do")
    values = read_params(params)
    optical_flow = values.get("optical_flow")
    if isinstance(optical_flow, dict) and optical_flow.get("estimator") == "auto":
        optical_flow["estimator"] = default_estimator()
    check_params(values, params)
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    write_text(workspace.params, f"# Made from {params.name}; edit freely.\n{text}")
    with atomic_path(workspace.root / PIPELINE.name) as temporary:
        shutil.copyfile(PIPELINE, temporary)
