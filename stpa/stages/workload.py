"""What a retraining has to do, as of the ingested videos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from stpa.config import Config
from stpa.data.manifest import Manifest, Video, read_manifest
from stpa.data.storage import Folder
from stpa.errors import VersioningError
from stpa.stages.extract import find_missing
from stpa.stages.feature_files import feature_keys, missing_features, videos_with_features
from stpa.stages.held_out import folds_of
from stpa.stages.plan import Plan, make_plan
from stpa.stages.training_job import (
    frames_job,
    unmeasured_job,
)
from stpa.streams import Stream
from stpa.training.job import TrainingJob
from stpa.workspace import Workspace


@dataclass(frozen=True)
class Workload:
    """The work of a retraining, and which of it is not done yet.

    Networks have names such as "rgb stpa", and come in the order of their training.
    """

    videos: tuple[Video, ...]
    test_videos: tuple[Video, ...]
    to_extract: tuple[Video, ...]
    """Videos whose optical flow is missing."""
    num_extracted: int
    """Of videos whose optical flow is there."""
    to_store: Mapping[Stream, tuple[Video, ...]]
    """Videos whose features are missing, where heads learn from features."""
    jobs: Mapping[str, TrainingJob]
    """All trainings that params.yaml compares, by the name of the network."""
    to_train: tuple[str, ...]
    to_hold_out: tuple[str, ...]
    """Networks whose heads are to score training videos that they have not learnt from."""
    to_evaluate: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Whether all is done."""
        return not (
            self.to_extract
            or any(self.to_store.values())
            or self.to_train
            or self.to_hold_out
            or self.to_evaluate
        )


def find_workload(workspace: Workspace, config: Config) -> Workload:
    """Find what is missing: optical flow by the stored files, the rest by its inputs."""
    manifest = read_manifest(workspace.manifest)
    flow_of = manifest.usable if config.reads_optical_flow else []
    to_extract = find_missing(workspace, config.optical_flow, flow_of)
    plan = _plan_of_last_extraction(workspace, config)
    jobs: dict[str, TrainingJob] = {}
    to_train, to_hold_out, to_evaluate = [], [], []
    for head, stream in product(config.heads, config.streams):
        storage = Folder(workspace.optical_flow if stream.reads_optical_flow else workspace.videos)
        job = unmeasured_job(manifest, config, stream, head, storage)
        name = job.name
        jobs[name] = job
        network = plan.network(stream, head) if plan else None
        # New flow is another data version, which flow networks and all scores depend on.
        flow_is_new = to_extract and stream.reads_optical_flow
        if network is None or flow_is_new or not network.is_trained:
            to_train.append(name)
        scored = None if to_extract or name in to_train else network
        if scored is None or not scored.scores.exists():
            to_evaluate.append(name)
        is_held_out = scored is not None and scored.held_out_scores.exists()
        if config.fits_fusion and folds_of(job) and not is_held_out:
            to_hold_out.append(name)
    return Workload(
        videos=tuple(manifest.usable),
        test_videos=tuple(manifest.select("test")),
        to_extract=tuple(to_extract),
        num_extracted=len(flow_of) - len(to_extract),
        to_store=_find_missing_features(workspace, config, manifest, to_extract),
        jobs=jobs,
        to_train=tuple(to_train),
        to_hold_out=tuple(to_hold_out),
        to_evaluate=tuple(to_evaluate),
    )


def _find_missing_features(
    workspace: Workspace, config: Config, manifest: Manifest, to_extract: Sequence[Video]
) -> dict[Stream, tuple[Video, ...]]:
    if not config.stores_features:
        return {}
    missing = {}
    videos = videos_with_features(config, manifest)
    for stream in config.streams:
        if to_extract and stream.reads_optical_flow:  # scaled by what all stored flow holds
            missing[stream] = tuple(videos)
        else:
            job = frames_job(workspace, config, stream, config.heads[0])
            keys = feature_keys(config, job.spec, videos)
            missing[stream] = tuple(missing_features(workspace, keys, stream))
    return missing


def _plan_of_last_extraction(workspace: Workspace, config: Config) -> Plan | None:
    """Return the plan, if the last extraction was from the ingested videos."""
    try:
        return make_plan(workspace, config)
    except VersioningError:
        return None
