"""Bring back the data of a tracked run."""

import logging
import tempfile
from pathlib import Path

import yaml

from stpa.config import Config
from stpa.data import versioning
from stpa.data.versioning import DataVersion
from stpa.errors import RegistryError
from stpa.registry.tracking import Tracker, open_tracker
from stpa.workspace import Workspace

VERSION = "version"
"""The folder of a run that holds DVC's names of its data."""

logger = logging.getLogger(__name__)


def keep_version(tracker: Tracker, run_id: str, workspace: Workspace) -> None:
    """Store with a run what `restore` needs."""
    with tempfile.TemporaryDirectory() as temporary:
        versioning.copy_version_files(workspace.root, Path(temporary))
        tracker.log_files(run_id, Path(temporary), VERSION)


def restore(workspace: Workspace, config: Config, run_id: str) -> DataVersion:
    """Make the workspace hold exactly the data that a run used.

    Raises RegistryError for a run that is not there or has no data.
    """
    tracker = open_tracker(workspace, config.tracking)
    with tempfile.TemporaryDirectory() as temporary:
        files = tracker.fetch_files(run_id, VERSION, Path(temporary))
        if files is None:
            raise RegistryError(
                f"run {run_id} names no data version: give a training or fusion run"
            )
        version = versioning.restore(workspace.root, config.data.remote, files)
    params = yaml.safe_load(tracker.read_text(run_id, "params.yaml") or "") or {}
    if params.get("optical_flow") != config.optical_flow.model_dump(mode="json"):
        logger.warning(
            "params.yaml asks for another optical flow than was restored, and the next extraction "
            "would replace this one: set optical_flow to %s",
            params.get("optical_flow"),
        )
    return version
