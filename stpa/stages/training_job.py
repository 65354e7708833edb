"""The training that the current data and parameters ask for."""

import logging
from dataclasses import replace

from stpa.config import Config
from stpa.data.clips import ClipReader
from stpa.data.manifest import Manifest, read_manifest
from stpa.data.motion_level import motion_deviation
from stpa.data.storage import Storage
from stpa.stages.feature_files import find_features
from stpa.stages.storage import stream_storage
from stpa.streams import Stream
from stpa.training.job import TrainingJob
from stpa.workspace import Workspace

logger = logging.getLogger(__name__)


def training_job(workspace: Workspace, config: Config, stream: Stream, head: str) -> TrainingJob:
    """Return the training of a network on all training videos.

    Raises DataError where it learns from features, and some are missing.
    """
    job = frames_job(workspace, config, stream, head)
    if not config.stores_features:
        return job
    return replace(job, features=find_features(workspace, config, job.spec, job.videos))


def frames_job(workspace: Workspace, config: Config, stream: Stream, head: str) -> TrainingJob:
    """Return what `training_job` does, without any features.

    Motion is measured whatever `model.flow_input` is, as a search may vary that.
    """
    manifest = read_manifest(workspace.manifest)
    storage = stream_storage(workspace, config, stream)
    job = unmeasured_job(manifest, config, stream, head, storage)
    if stream.rest_level is None:
        return job
    reader = ClipReader(stream, storage, config.train.short_side)
    deviation = motion_deviation(job.videos, reader)
    logger.info("%s has a standard deviation of %.1f levels of 255", stream.title, deviation)
    return replace(job, motion_deviation=deviation)


def unmeasured_job(
    manifest: Manifest, config: Config, stream: Stream, head: str, storage: Storage
) -> TrainingJob:
    """Return what `training_job` does, but for what the size of the motion decides."""
    return TrainingJob(
        stream=stream,
        head=head,
        model=config.model,
        train=config.train,
        class_names=manifest.class_names,
        multi_label=manifest.multi_label,
        videos=tuple(manifest.select("train")),
        storage=storage,
    )
