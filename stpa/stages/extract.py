"""Store the optical flow of every video that lacks it, in parallel, and version it."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

from stpa.compute.tasks import cluster, gpu_share, map_unordered
from stpa.config import Config, OpticalFlowConfig
from stpa.data import versioning
from stpa.data.manifest import Video, read_manifest
from stpa.data.versioning import DataVersion, read_version
from stpa.optical_flow import ESTIMATORS
from stpa.optical_flow.codec import read_provenance
from stpa.optical_flow.extract import extract_video, provenance
from stpa.progress import ReportProgress, silent
from stpa.workspace import Workspace

logger = logging.getLogger(__name__)

TASKS_PER_GPU = 4
"""While one computes, others decode and write."""


def extract(workspace: Workspace, config: Config, progress: ReportProgress = silent) -> DataVersion:
    """Extract what is missing, and return the data version that this completes.

    The work is done here, where progress and errors are seen, then committed as the DVC stage
    that it is: a `dvc repro` afterwards finds nothing to do.
    """
    extract_untracked(workspace, config, progress)
    versioning.commit_extraction(workspace.root)
    versioning.push(workspace.root)
    return read_version(workspace.root)


def extract_untracked(
    workspace: Workspace, config: Config, progress: ReportProgress = silent
) -> None:
    """Make the stored optical flow that of the manifest's usable videos, and of no others.

    Killed and called again, it goes on with the next video.
    """
    videos = [video for video in read_manifest(workspace.manifest).videos if video.status == "ok"]
    outputs = {video.video_id: _output(workspace.optical_flow, video) for video in videos}
    _remove_others(workspace.optical_flow, set(outputs.values()))
    missing = [
        video
        for video in videos
        if read_provenance(outputs[video.video_id])
        != provenance(**_settings(video, config.optical_flow))
    ]
    num_done = len(videos) - len(missing)
    progress(num_done, len(videos))
    if not missing:
        logger.info("the optical flow of all %d videos is there", len(videos))
        return
    extract_one = partial(
        _extract_one,
        videos=workspace.videos.resolve(),
        optical_flow=workspace.optical_flow.resolve(),
        config=config.optical_flow,
    )
    on_gpu = ESTIMATORS[config.optical_flow.estimator].on_gpu
    with cluster(config.compute.address):
        share = gpu_share(TASKS_PER_GPU) if on_gpu else 0.0
        done = map_unordered(extract_one, missing, num_gpus=share)
        for num_new, _ in enumerate(done, start=1):
            progress(num_done + num_new, len(videos))


def _extract_one(
    video: Video, *, videos: Path, optical_flow: Path, config: OpticalFlowConfig
) -> None:
    """Run in a worker, on one core."""
    import cv2

    cv2.setNumThreads(1)
    extract_video(videos / video.path, _output(optical_flow, video), **_settings(video, config))


def _settings(video: Video, config: OpticalFlowConfig) -> dict[str, Any]:
    return {
        **config.model_dump(),
        "num_frames": video.num_frames,
        "source_sha256": video.sha256,
    }


def _output(folder: Path, video: Video) -> Path:
    return folder / f"{video.video_id}.avi"


def _remove_others(folder: Path, wanted: set[Path]) -> None:
    """Delete the flow of videos that have left the manifest, and what killed runs left behind."""
    members = sorted(folder.rglob("*"), reverse=True)
    for member in members:
        if member.is_dir() and not member.is_symlink():
            if not any(member.iterdir()):
                member.rmdir()
        elif member not in wanted:
            member.unlink()
