"""Score videos in parallel on the cluster."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from stpa.compute.tasks import cluster, map_unordered
from stpa.config import Config
from stpa.data.deadline import limit_decoding
from stpa.data.manifest import Video
from stpa.evaluation.k_sweep import (
    LogitsByK,
    LogitsByVideo,
    Part,
    Source,
    StatesByK,
    Sweep,
    load_and_sum_up,
    load_and_sweep,
    read_states,
)
from stpa.evaluation.unfinished import UnfinishedScores
from stpa.models.checkpoint import load_model
from stpa.models.heads import MergingHead
from stpa.models.network import ActionNetwork
from stpa.progress import ReportProgress, silent
from stpa.stages.storage import stream_storage
from stpa.streams import Stream
from stpa.workspace import Workspace

Item = TypeVar("Item")
Result = TypeVar("Result")


def sweep_on_cluster(
    workspace: Workspace,
    config: Config,
    stream: Stream,
    model_folder: Path,
    videos: Sequence[Video],
    sweep: Sweep,
    *,
    source: Source | None = None,
    unfinished: UnfinishedScores | None = None,
    progress: ReportProgress = silent,
) -> LogitsByVideo:
    """Return each video's logits at each K, in float32.

    `source` is what to look at; by default, the stream's files.
    A video is a task; one that a sweep looks at too often for a single task is parted over
    several, whose states are merged. What `unfinished` holds is not computed again, and each
    video is added to it as it comes.
    """
    found: LogitsByVideo = dict(unfinished.logits) if unfinished else {}
    settings = {
        "model_folder": model_folder.resolve(),
        "source": source or stream_storage(workspace, config, stream),
        "sweep": sweep,
        "device": config.compute.device,
    }
    network = load_model(model_folder)

    def parts_of(video: Video) -> int:
        if not isinstance(network.head, MergingHead):
            return 1
        num_frames = len(sweep.distinct_positions(video, stream))
        return math.ceil(num_frames / config.evaluate.frames_per_task)

    def keep(video: Video, logits: LogitsByK) -> None:
        if unfinished:
            unfinished.add(video.video_id, logits)
        found[video.video_id] = logits
        progress(len(found), len(videos))

    missing = [(video, parts_of(video)) for video in videos if video.video_id not in found]
    short = [video for video, num_parts in missing if num_parts == 1]
    long = [(video, num_parts) for video, num_parts in missing if num_parts > 1]
    with cluster(config.compute.address):
        for video, logits in map_on_cluster(config, partial(load_and_sweep, **settings), short):
            keep(video, logits)
        for video, logits in _sweep_in_parts(config, network, long, settings):
            keep(video, logits)
    return found


def map_on_cluster(
    config: Config, function: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[tuple[Item, Result]]:
    """Yield each item with what a worker's call of `function` gives, as they come.

    A call whose decoder hangs ends its worker, and after some attempts the rest.
    """
    with cluster(config.compute.address):
        yield from map_unordered(
            partial(_call_limited, function, config.data.decode_deadline_seconds),
            items,
            num_cpus=config.compute.cpus_per_worker,
            num_gpus=config.compute.gpus_per_worker,
        )


def _call_limited(function: Callable[[Item], Result], decode_seconds: float, item: Item) -> Result:
    """Run in a worker."""
    limit_decoding(decode_seconds)
    return function(item)


def _sweep_in_parts(
    config: Config,
    network: ActionNetwork,
    videos: Sequence[tuple[Video, int]],
    settings: dict[str, Any],
) -> Iterator[tuple[Video, LogitsByK]]:
    """Yield each video, given with the number of its parts, when the last of them has come."""
    parts = [Part(video, index, count) for video, count in videos for index in range(count)]
    waiting: dict[str, dict[int, StatesByK]] = {}
    come = map_on_cluster(config, partial(load_and_sum_up, **settings), parts)
    for part, states in come:
        video_id = part.video.video_id
        arrived = waiting.setdefault(video_id, {})
        arrived[part.index] = states
        if len(arrived) == part.count:
            del waiting[video_id]
            # In order of time, not of arrival: the last bits of a sum depend on it.
            yield part.video, read_states(network, [arrived[index] for index in sorted(arrived)])
