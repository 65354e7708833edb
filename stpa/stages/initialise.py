"""Make a workspace from a params file."""

import shutil
from pathlib import Path

import yaml

from stpa.errors import ConfigError
from stpa.files import atomic_path, write_text
from stpa.params import check_params, read_params, settle_estimator
from stpa.workspace import Workspace

PIPELINE = Path(__file__).resolve().parents[2] / "dvc.yaml"
"""The stages that DVC keeps, the same in every workspace."""


def initialise(workspace: Workspace, params: Path) -> None:
    """Write the workspace's params.yaml and dvc.yaml; data and results that are there stay.

    The written file stands alone: it extends no other, its paths are absolute, and what it
    leaves to the machine is settled.
    """
    if workspace.params.exists() and params.resolve() == workspace.params.resolve():
        raise ConfigError(f"{params} is the workspace's own params file: there is nothing to do")
    values = read_params(params)
    settle_estimator(values, workspace)
    check_params(values, params)
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    write_text(workspace.params, f"# Made from {params.name}; edit freely.\n{text}")
    with atomic_path(workspace.root / PIPELINE.name) as temporary:
        shutil.copyfile(PIPELINE, temporary)
