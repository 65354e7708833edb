"""Bring videos in, verify them, and version the dataset."""

from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_table_artifact

from stpa.data.manifest import Manifest
from stpa.flows.watch import RETRIES, name_run, watched, working_in
from stpa.stages.ingest import ingest as run_ingest


@task(**RETRIES, task_run_name="ingest-videos")
def ingest_videos(root: Path, source: Path | None) -> Manifest:
    """Run the ingest stage."""
    with working_in(root) as (workspace, config), watched("ingest videos") as progress:
        return run_ingest(workspace, config, source, progress).manifest


@flow(name="ingest", flow_run_name=name_run)
def ingest(root: Path = Path(), source: Path | None = None) -> Manifest:
    """Ingest `source`, or the workspace's own data.source, into the workspace `root`."""
    manifest = ingest_videos(root, source)
    create_table_artifact(
        [{"video": video.path, "reason": video.reason} for video in manifest.quarantined],
        key="quarantined-videos",
        description=f"{len(manifest.quarantined)} of {len(manifest.videos)} videos unusable",
    )
    return manifest
