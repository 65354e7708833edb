"""Bring videos in, check each one, and version the dataset."""

import logging
from dataclasses import dataclass
from pathlib import Path

from stpa.config import Config
from stpa.data import versioning
from stpa.data.ingest import ingest as ingest_videos
from stpa.data.manifest import Manifest
from stpa.progress import ReportProgress, silent
from stpa.workspace import Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class IngestResult:
    """The dataset that the workspace now holds."""

    manifest: Manifest
    changed: bool
    """Whether this is another version than before."""


def ingest(
    workspace: Workspace,
    config: Config,
    source: Path | None = None,
    progress: ReportProgress = silent,
) -> IngestResult:
    """Make the workspace hold the videos of `source` (or `data.source`) as a DVC version.

    Killed and called again, it goes on; with nothing new, the version stays.
    """
    tracked = [workspace.videos, workspace.manifest]
    before = [versioning.tracked_hash(path) for path in tracked]
    manifest = ingest_videos(workspace, config.data, source, progress)
    versioning.initialise(workspace.root, config.data.remote)
    versioning.track(workspace.root, tracked)
    versioning.push(workspace.root)
    changed = before != [versioning.tracked_hash(path) for path in tracked]
    if not changed:
        logger.info("the dataset has not changed")
    return IngestResult(manifest, changed)
