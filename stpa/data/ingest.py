"""From a source to a manifest: bring the videos in, open each one once, write down what it is."""

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from stpa.config import DataConfig, SplitConfig
from stpa.data.datasets import ListedDataset, ListedVideo, find_dataset
from stpa.data.datasets.base import name_some, raise_faults, split_faults
from stpa.data.manifest import Manifest, Video, read_manifest, write_manifest
from stpa.data.probe import Oddities, Probe, probe_videos
from stpa.data.probe_cache import ProbeCache
from stpa.data.transcode import Transcodes
from stpa.errors import DataError
from stpa.files import read_json, write_json
from stpa.progress import ReportProgress
from stpa.workspace import Workspace

logger = logging.getLogger(__name__)


def ingest(
    workspace: Workspace, config: DataConfig, source: Path | None, progress: ReportProgress
) -> Manifest:
    """Make the workspace hold the videos of `source` (or `config.source`), and its manifest.

    Can be killed and run again; a run with nothing new decodes nothing. Videos that cannot be
    used are quarantined with their reason. Where they are too many, or leave a class without
    training or test videos, raises DataError and writes no manifest.
    """
    dataset = find_dataset(config.dataset)
    if source is None and config.source is not None:
        source = workspace.root / config.source
    dataset.prepare(workspace.videos, source, config, progress)
    listed = _keep_sides(workspace, config, dataset.list_videos(workspace.videos, config))
    probes = _probe_all(workspace, listed, config, progress)
    manifest = Manifest(_describe(listed, probes))
    _warn_of_remarks(listed, probes)
    _check_quarantine(manifest, config.max_quarantined)
    class_names = {label for video in listed for label in video.labels}
    raise_faults(workspace.videos, split_faults(manifest.usable, class_names))
    write_manifest(workspace.manifest, manifest)
    if not _same_split_rule(workspace, config):
        remember_split_rule(workspace, config)
    return manifest


def remember_split_rule(workspace: Workspace, config: SplitConfig) -> None:
    """Note by what rule the workspace's manifest was split: by the same one, its sides stay."""
    write_json(_split_record(workspace), _split_rule(config))


def _keep_sides(
    workspace: Workspace, config: DataConfig, listed: Sequence[ListedVideo]
) -> list[ListedVideo]:
    """Leave each recording of the present manifest in its split while the rule is the same.

    Where new recordings moved old ones, a champion would be tested on what it learnt from. The
    dataset's own lists are followed nevertheless.
    """
    if not (workspace.manifest.exists() and _same_split_rule(workspace, config)):
        return list(listed)
    sides = {video.group: video.split for video in read_manifest(workspace.manifest).videos}
    kept = [replace(video, split=sides.get(video.group, video.split)) for video in listed]
    if not isinstance(find_dataset(config.dataset), ListedDataset):
        return kept
    if moved := sorted({new.group for new, old in zip(listed, kept, strict=True) if new != old}):
        logger.warning(
            "%d recordings change their split, as the lists say (%s): "
            "a champion may be tested on what it learnt from",
            *(len(moved), name_some(moved)),
        )
    return list(listed)


def _same_split_rule(workspace: Workspace, config: SplitConfig) -> bool:
    record = _split_record(workspace)
    return record.exists() and read_json(record) == _split_rule(config)


def _split_record(workspace: Workspace) -> Path:
    return workspace.runs / "split.json"


def _split_rule(config: SplitConfig) -> dict[str, str | int]:
    return config.model_dump(include=set(SplitConfig.model_fields))


def _probe_all(
    workspace: Workspace,
    listed: Sequence[ListedVideo],
    config: DataConfig,
    progress: ReportProgress,
) -> list[Probe | str]:
    """Probe what the cache does not know; return one result for each of `listed`."""
    paths = [workspace.videos / video.path for video in listed]
    transcodes = Transcodes(workspace.videos, config.transcode, config)
    cache = ProbeCache(workspace.runs / "probes.jsonl", workspace.videos, paths)
    found: dict[Path, Probe | str] = dict(cache.probes)
    missing = [path for path in paths if path not in found]
    num_processes = len(os.sched_getaffinity(0))
    for path, result in probe_videos(missing, config, num_processes):
        found[path] = result
        if isinstance(result, Probe):
            cache.add(path, result)
        progress(len(found), len(paths))
    return [_with_oddities(found[path], transcodes.oddities_of(path)) for path in paths]


def _with_oddities(found: Probe | str, original: Oddities | None) -> Probe | str:
    """Add what was odd about the original of a transcoded video, which itself is sound."""
    if isinstance(found, str) or original is None:
        return found
    return found.model_copy(update=original.model_dump())


def _describe(listed: Sequence[ListedVideo], probes: Sequence[Probe | str]) -> tuple[Video, ...]:
    videos = []
    taken: set[str] = set()
    for video, probe in zip(listed, probes, strict=True):
        video_id = str(PurePosixPath(video.path).with_suffix(""))
        if video_id in taken and isinstance(probe, Probe):
            probe = "another video has the same name but for its suffix"
        described = _describe_one(video, video_id, probe)
        if described.status == "ok":
            taken.add(video_id)
        videos.append(described)
    return tuple(videos)


def _describe_one(video: ListedVideo, video_id: str, probe: Probe | str) -> Video:
    usable = isinstance(probe, Probe)
    measures = (
        probe.measures
        if usable
        else {"num_frames": 0, "fps": 0, "width": 0, "height": 0, "sha256": ""}
    )
    return Video(
        video_id=video_id,
        path=video.path,
        labels=video.labels,
        intervals=video.intervals,
        group=video.group,
        split=video.split,
        status="ok" if usable else "quarantined",
        reason="" if usable else probe,
        **measures,
    )


def _warn_of_remarks(listed: Sequence[ListedVideo], probes: Sequence[Probe | str]) -> None:
    for video, found in zip(listed, probes, strict=True):
        if isinstance(found, Probe) and found.remarks:
            logger.warning("%r: %s", video.path, "; ".join(found.remarks))


def _check_quarantine(manifest: Manifest, max_share: float) -> None:
    quarantined = manifest.quarantined
    if len(quarantined) > max_share * len(manifest.videos):
        reasons = "; ".join(f"{video.path!r}: {video.reason}" for video in quarantined[:10])
        raise DataError(
            f"{len(quarantined)} of {len(manifest.videos)} videos cannot be used, more than "
            f"data.max_quarantined {max_share:g} allows ({reasons}): mend or remove them"
        )
    for video in quarantined:
        logger.warning("quarantined %r: %s", video.path, video.reason)
