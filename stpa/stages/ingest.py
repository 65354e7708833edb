"""Bring videos in, check each one, and version the dataset."""

import logging
from dataclasses import dataclass
from pathlib import Path

from stpa.config import Config
from stpa.data import versioning
from stpa.data.ingest import ingest as ingest_videos
from stpa.data.manifest import Manifest, read_manifest
from stpa.data.overview import describe, find_concerns
from stpa.progress import ReportProgress, silent
from stpa.workspace import Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class IngestResult:
    """The dataset that the workspace now holds."""

    manifest: Manifest
    changed: bool
    """Whether this is another version than before."""
    num_come: int
    """Videos, by path and content, that were not in the version before."""
    num_left: int
    """Videos of the version before that this one lacks; DVC keeps that version."""


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
    old = _contents(read_manifest(workspace.manifest)) if workspace.manifest.exists() else set()
    manifest = ingest_videos(workspace, config.data, source, progress)
    versioning.initialise(workspace.root, config.data.remote)
    versioning.track(workspace.root, tracked)
    versioning.push(workspace.root)
    changed = before != [versioning.tracked_hash(path) for path in tracked]
    new = _contents(manifest)
    result = IngestResult(manifest, changed, len(new - old), len(old - new))
    if not changed:
        logger.info("the dataset has not changed")
    elif result.num_left:
        logger.warning(
            "%d of %d videos left the dataset and %d came: the version before is kept in %s",
            *(result.num_left, len(old), result.num_come, config.data.remote),
        )
    for line in describe(manifest, config.train):
        logger.info("%s", line)
    for concern in find_concerns(manifest, config.data):
        logger.warning("%s", concern)
    return result


def _contents(manifest: Manifest) -> set[tuple[str, str]]:
    return {(video.path, video.sha256) for video in manifest.videos}
