"""Measure, in parallel on the cluster, whether networks' maps point at the annotated actions."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from stpa.config import Config
from stpa.data.annotations import load_annotations
from stpa.data.datasets.base import name_some
from stpa.data.manifest import read_manifest
from stpa.errors import DataError
from stpa.evaluation.localisation.average import Average, Averages, average
from stpa.evaluation.localisation.localise import AnnotatedVideo, Measured, load_and_localise
from stpa.files import digest_file, write_json
from stpa.models.checkpoint import WEIGHTS_FILE, load_spec
from stpa.progress import ReportProgress, silent
from stpa.stages.plan import Plan
from stpa.stages.storage import flow_storage, stream_storage
from stpa.stages.sweep import map_on_cluster
from stpa.stages.train import find_trained
from stpa.streams import Stream
from stpa.workspace import Workspace

_SEED = 0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LocalisedNetwork:
    """What one network's maps, and the baselines, reach on the annotated test videos."""

    model_folder: Path
    num_actions: int
    """Of which the averages are, but for those that a metric leaves out."""
    num_recordings: int
    averages: Averages


def find_networks(plan: Plan, streams: Sequence[Stream], heads: Sequence[str]) -> dict[str, Path]:
    """Return the model folders of trained networks by name, such as "rgb stpa"."""
    networks = [plan.network(stream, head) for head in heads for stream in streams]
    return {network.name: find_trained(network).folder for network in networks}


def name_network(model_folder: Path) -> dict[str, Path]:
    """Return a model folder by the name of its network. Raises ModelError."""
    spec = load_spec(model_folder)
    return {f"{spec.stream} {spec.head}": model_folder}


def find_annotated(workspace: Workspace, table: Path | None) -> list[AnnotatedVideo]:
    """Return the test videos that a table, or what the dataset brings, annotates.

    Raises DataError where it annotates none.
    """
    actions_of = load_annotations(workspace.videos, table)
    manifest = read_manifest(workspace.manifest)
    unknown = sorted(actions_of.paths - {video.path for video in manifest.videos})
    if unknown and table:
        logger.warning(
            "%s names %d videos that are not there: %s", table, len(unknown), name_some(unknown)
        )
    videos = manifest.select("test")
    found = [AnnotatedVideo(video, tuple(actions_of(video))) for video in videos]
    annotated = [each for each in found if each.actions]
    if not annotated:
        source = f"{table} names none of the" if table else "the dataset does not say it of the"
        raise DataError(
            f"when and where actions are is not known: {source} {len(videos)} test videos: give "
            "a table by --truth, with the paths that data/manifest.csv has"
        )
    if len(annotated) < len(videos):
        logger.info("%d of %d test videos are annotated", len(annotated), len(videos))
    return annotated


def localise_on_cluster(
    workspace: Workspace,
    config: Config,
    model_folder: Path,
    annotated: Sequence[AnnotatedVideo],
    *,
    num_segments: int,
    perturbs: bool,
    progress: ReportProgress = silent,
) -> LocalisedNetwork:
    """Measure one network's maps on videos, each of which is a task; see `localise`."""
    measure = partial(
        load_and_localise,
        model_folder=model_folder.resolve(),
        storage=stream_storage(workspace, config, load_spec(model_folder).stream),
        flow_storage=flow_storage(workspace, config) if config.reads_optical_flow else None,
        num_segments=num_segments,
        perturbs=perturbs,
        device=config.compute.device,
    )
    found: dict[str, list[Measured]] = {}
    for each, measured in map_on_cluster(config, measure, annotated):
        found[each.video.video_id] = measured
        progress(len(found), len(annotated))
    # In the manifest's order, not that of arrival: each action goes with its recording.
    videos = [each.video for each in annotated for _ in each.actions]
    measured = [one for each in annotated for one in found[each.video.video_id]]
    groups = [video.group for video in videos]
    return LocalisedNetwork(
        model_folder=model_folder,
        num_actions=len(measured),
        num_recordings=len(set(groups)),
        averages=average(measured, groups, _SEED),
    )


def write_localisation(
    workspace: Workspace,
    networks: Mapping[str, LocalisedNetwork],
    *,
    data_version: str,
    table: Path | None,
    num_segments: int,
) -> Path:
    """Write all averages, with what they were measured on, for a program; return the file."""
    write_json(
        workspace.localisation,
        {
            "data_version": data_version,
            "truth": str(table) if table else "dataset",
            "num_segments": num_segments,
            "networks": {name: _as_json(network) for name, network in networks.items()},
        },
    )
    return workspace.localisation


def _as_json(network: LocalisedNetwork) -> dict[str, Any]:
    return {
        "weights_sha256": digest_file(network.model_folder / WEIGHTS_FILE),
        "actions": network.num_actions,
        "recordings": network.num_recordings,
        "maps": {
            kind: {metric: _average_as_json(found) for metric, found in metrics.items()}
            for kind, metrics in network.averages.items()
        },
    }


def _average_as_json(found: Average) -> dict[str, Any]:
    interval = found.interval
    return {
        "mean": None if math.isnan(found.mean) else found.mean,
        "interval": None if interval is None else [interval.low, interval.high],
        "left_out": found.num_undefined,
    }
