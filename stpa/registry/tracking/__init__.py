"""The one door to MLflow: runs named by the digest of their inputs, versions, aliases."""

from stpa.config import TrackingConfig
from stpa.registry.tracking.connection import default_uri
from stpa.registry.tracking.models import DownloadedModel, Models, RegisteredModel, Version
from stpa.registry.tracking.relocation import relocate_store
from stpa.registry.tracking.runs import DESCRIPTION_TAG, KEY_TAG, Dataset, Runs
from stpa.workspace import Workspace

__all__ = [
    "DESCRIPTION_TAG",
    "KEY_TAG",
    "Dataset",
    "DownloadedModel",
    "RegisteredModel",
    "Tracker",
    "Version",
    "default_uri",
    "open_tracker",
    "relocate_store",
]


class Tracker(Runs, Models):
    """Runs and registered models of one experiment at one address."""


def open_tracker(workspace: Workspace, config: TrackingConfig) -> Tracker:
    """Connect to the configured server, or to the workspace's own SQLite store."""
    if config.uri:
        return Tracker(config.uri, config.experiment)
    relocate_store(workspace)
    return Tracker(default_uri(workspace), config.experiment)
