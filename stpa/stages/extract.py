"""Store the optical flow of every video that lacks it, in parallel, and version it."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from stpa.compute.tasks import cluster, gpu_share, map_unordered
from stpa.config import Config, OpticalFlowConfig
from stpa.data import versioning
from stpa.data.deadline import limit_decoding
from stpa.data.manifest import Video, read_manifest
from stpa.data.storage import Storage
from stpa.data.versioning import DataVersion, read_version
from stpa.files import keep_only
from stpa.optical_flow import ESTIMATORS
from stpa.optical_flow.codec import read_provenance
from stpa.optical_flow.extract import extract_video, provenance
from stpa.progress import ReportProgress, silent
from stpa.stages.storage import video_storage
from stpa.stages.worker_files import WorkerFiles
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
    videos = read_manifest(workspace.manifest).usable if config.reads_optical_flow else []
    workspace.optical_flow.mkdir(parents=True, exist_ok=True)  # a version has it, if empty
    keep_only(
        workspace.optical_flow, {workspace.optical_flow / video.flow_path for video in videos}
    )
    missing = find_missing(workspace, config.optical_flow, videos)
    num_done = len(videos) - len(missing)
    progress(num_done, len(videos))
    if not missing:
        if videos:
            logger.info("the optical flow of all %d videos is there", len(videos))
        return
    files = WorkerFiles.of(workspace.optical_flow, config)
    extract_one = partial(
        _extract_one,
        storage=video_storage(workspace, config),
        files=files,
        config=config.optical_flow,
        decode_seconds=config.data.decode_deadline_seconds,
    )
    on_gpu = ESTIMATORS[config.optical_flow.estimator].on_gpu
    with cluster(config.compute.address):
        share = gpu_share(TASKS_PER_GPU) if on_gpu else 0.0
        done = map_unordered(extract_one, missing, num_gpus=share)
        for num_new, (video, content) in enumerate(done, start=1):
            files.keep(video.flow_path, content)
            progress(num_done + num_new, len(videos))


def find_missing(
    workspace: Workspace, config: OpticalFlowConfig, videos: Sequence[Video]
) -> list[Video]:
    """Return the videos whose optical flow is not stored, or was made in another way."""
    return [
        video
        for video in videos
        if read_provenance(workspace.optical_flow / video.flow_path)
        != provenance(**_settings(video, config))
    ]


def _extract_one(
    video: Video,
    *,
    storage: Storage,
    files: WorkerFiles,
    config: OpticalFlowConfig,
    decode_seconds: float,
) -> bytes | None:
    """Run in a worker, on one core: store the flow; see `WorkerFiles.make`."""
    import cv2

    cv2.setNumThreads(1)
    limit_decoding(decode_seconds)
    with storage.local(video.path) as path:
        return files.make(
            video.flow_path,
            lambda output: extract_video(path, output, **_settings(video, config)),
        )


def _settings(video: Video, config: OpticalFlowConfig) -> dict[str, Any]:
    return {
        **config.model_dump(),
        "num_frames": video.num_frames,
        "source_sha256": video.sha256,
    }
