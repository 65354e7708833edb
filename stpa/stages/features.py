"""Store what a backbone makes of each video as it starts, in parallel, and version it."""

import logging
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from stpa.compute.tasks import cluster
from stpa.config import Config
from stpa.data import versioning
from stpa.data.features import write_features
from stpa.data.manifest import Video, read_manifest
from stpa.data.storage import Storage
from stpa.errors import ConfigError, DataError
from stpa.evaluation.features import Views, compute_features
from stpa.evaluation.k_sweep import Sweep
from stpa.files import keep_only
from stpa.models.checkpoint import load_shared, save_model
from stpa.models.network import ActionNetwork
from stpa.progress import ReportProgress, silent
from stpa.stages.extract import find_missing
from stpa.stages.feature_files import (
    feature_folder,
    feature_keys,
    missing_features,
    shared_key,
    stored_sweep,
    stored_views,
    videos_with_features,
)
from stpa.stages.pretrained import prepare_weights
from stpa.stages.sweep import map_on_cluster
from stpa.stages.training_job import frames_job
from stpa.stages.worker_files import WorkerFiles
from stpa.training.job import TrainingJob
from stpa.workspace import Workspace

logger = logging.getLogger(__name__)


def store_features(workspace: Workspace, config: Config, progress: ReportProgress = silent) -> None:
    """Make the stored features those of `videos_with_features`, and version them.

    Killed and called again, it goes on with the next video. Raises ConfigError where nothing
    learns from them.
    """
    if not config.stores_features:
        raise ConfigError(
            "features are stored where model.freeze is backbone or train.warm_start is features, "
            "but both are none: whole networks are trained on the videos themselves"
        )
    prepare_weights(config)
    manifest = read_manifest(workspace.manifest)
    videos = videos_with_features(config, manifest)
    if without_flow := find_missing(workspace, config.optical_flow, videos):
        raise DataError(
            f"the optical flow of {len(without_flow)} of {len(videos)} videos is missing, or was "
            "made in another way: run `stpa extract` first"
        )
    jobs = [frames_job(workspace, config, stream, config.heads[0]) for stream in config.streams]
    keys = {job.stream: feature_keys(config, job.spec, videos) for job in jobs}
    wanted = {
        feature_folder(workspace, stream) / video.feature_path
        for stream, of_videos in keys.items()
        for video in of_videos
    }
    keep_only(workspace.features, wanted)
    missing = {stream: missing_features(workspace, keys[stream], stream) for stream in keys}
    num_done = len(wanted) - sum(map(len, missing.values()))
    progress(num_done, len(wanted))
    if num_done == len(wanted):
        logger.info("the features of all %d videos are there", len(videos))
    else:
        with cluster(config.compute.address):
            for job in jobs:
                for _ in _store(workspace, config, job, missing[job.stream], keys[job.stream]):
                    num_done += 1
                    progress(num_done, len(wanted))
    versioning.track(workspace.root, [workspace.features])
    versioning.push(workspace.root)


def _store(
    workspace: Workspace,
    config: Config,
    job: TrainingJob,
    videos: list[Video],
    keys: dict[Video, str],
) -> Iterator[Video]:
    """Store one stream's features of `videos`; yield each when it is there."""
    if not videos:
        return
    files = WorkerFiles.of(feature_folder(workspace, job.stream), config)
    network = workspace.runs / "features" / f"{job.stream}-{shared_key(config, job.spec)}"
    save_model(network, ActionNetwork(job.spec, job.model.pretrained))
    store_one = partial(
        _store_one,
        network=network.resolve(),
        storage=job.storage,
        sweep=stored_sweep(config),
        views=stored_views(config, job.stream),
        device=config.compute.device,
        files=files,
    )
    items = [(video, keys[video]) for video in videos]
    try:
        for (video, _key), content in map_on_cluster(config, store_one, items):
            files.keep(video.feature_path, content)
            yield video
    finally:
        shutil.rmtree(network, ignore_errors=True)


def _store_one(
    item: tuple[Video, str],
    *,
    network: Path,
    storage: Storage,
    sweep: Sweep,
    views: Views,
    device: str,
    files: WorkerFiles,
) -> bytes | None:
    """Run in a worker: store a video's features; see `WorkerFiles.make`."""
    video, key = item
    found = compute_features(load_shared(network, device), video, storage, sweep, views)
    return files.make(video.feature_path, lambda path: write_features(path, *found, key))
