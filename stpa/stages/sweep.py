"""Score videos in parallel on the cluster."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from stpa.compute.tasks import cluster, map_unordered
from stpa.config import Config, Stream
from stpa.data.manifest import Video
from stpa.evaluation.k_sweep import (
    LogitsByVideo,
    StatesByK,
    num_frames_looked_at,
    read_states,
    sum_up_part,
    sweep_videos,
)
from stpa.evaluation.unfinished import UnfinishedScores
from stpa.models.checkpoint import load_model
from stpa.progress import ReportProgress, silent
from stpa.stages.train import stream_root
from stpa.workspace import Workspace

Item = TypeVar("Item")
Result = TypeVar("Result")


def sweep_on_cluster(
    workspace: Workspace,
    config: Config,
    stream: Stream,
    model_folder: Path,
    videos: Sequence[Video],
    values_of_k: Sequence[int],
    *,
    unfinished: UnfinishedScores | None = None,
    progress: ReportProgress = silent,
) -> LogitsByVideo:
    """Return each video's logits at each K, in float32.

    Videos go to tasks by the shard; one that a sweep looks at too often for a single task is
    parted over several, whose states are merged. What `unfinished` holds is not computed again,
    and what is computed is added to it as it comes.
    """
    grid = config.evaluate.grid
    found: LogitsByVideo = dict(unfinished.logits) if unfinished else {}
    settings = {
        "model_folder": model_folder.resolve(),
        "root": stream_root(workspace, stream).resolve(),
        "sweep": values_of_k,
        "grid": grid,
        "device": "cuda" if config.compute.gpus_per_worker else "cpu",
    }

    def parts_of(video: Video) -> int:
        num_frames = num_frames_looked_at(video, stream, values_of_k, grid)
        return math.ceil(num_frames / config.evaluate.frames_per_task)

    def keep(done: LogitsByVideo) -> None:
        for video_id, logits in done.items():
            if unfinished:
                unfinished.add(video_id, logits)
            found[video_id] = logits
        progress(len(found), len(videos))

    missing = [(video, parts_of(video)) for video in videos if video.video_id not in found]
    short = [video for video, num_parts in missing if num_parts == 1]
    long = [(video, num_parts) for video, num_parts in missing if num_parts > 1]
    with cluster(config.compute.address):
        for done in map_shards(config, partial(sweep_videos, **settings), short):
            keep(done)
        for done in _sweep_in_parts(config, long, settings):
            keep(done)
    return found


def map_shards(
    config: Config, function: Callable[[Sequence[Video]], Result], videos: Sequence[Video]
) -> Iterator[Result]:
    """Yield what `function` gives of each shard of the videos, as it comes."""
    size = config.evaluate.shard_size
    shards = [tuple(videos[start : start + size]) for start in range(0, len(videos), size)]
    with cluster(config.compute.address):
        for _, result in _map(config, function, shards):
            yield result


def _sweep_in_parts(
    config: Config, videos: Sequence[tuple[Video, int]], settings: dict[str, Any]
) -> Iterator[LogitsByVideo]:
    """Yield each video, given with the number of its parts, when the last of them has come."""
    if not videos:
        return
    network = load_model(settings["model_folder"])
    parts = [(video, (index, count)) for video, count in videos for index in range(count)]
    waiting: dict[str, dict[int, StatesByK]] = {}
    for (video, (index, count)), states in _map(config, partial(sum_up_part, **settings), parts):
        arrived = waiting.setdefault(video.video_id, {})
        arrived[index] = states
        if len(arrived) == count:
            # In order of time, not of arrival: the last bits of a sum depend on it.
            in_order = [arrived[part] for part in range(count)]
            yield {video.video_id: read_states(network, in_order)}
            del waiting[video.video_id]


def _map(
    config: Config, function: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[tuple[Item, Result]]:
    return map_unordered(
        function,
        items,
        num_cpus=config.compute.cpus_per_worker,
        num_gpus=config.compute.gpus_per_worker,
    )
