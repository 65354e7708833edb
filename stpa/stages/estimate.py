"""What a retraining has to do, and about how long that takes, before it starts."""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stpa.compute.tasks import joined_address
from stpa.config import Config
from stpa.errors import StpaError, one_line
from stpa.progress import format_duration
from stpa.stages.feature_files import stored_sweep
from stpa.stages.measure import Speed, head_of, measure
from stpa.stages.plan import HELD_OUT_FOLDS, configured_sweep
from stpa.stages.workload import Workload, find_workload
from stpa.training.job import TrainingJob
from stpa.workspace import Workspace

PROCESSES_IN_A_ROW = 3
"""How many a training starts one after another: its desk, Ray Train's controller, and a worker."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Estimate:
    """Seconds that each kind of work takes; they follow one another."""

    extract: float
    store: float
    train: float
    hold_out: float
    evaluate: float
    trainings_at_once: int

    @property
    def total(self) -> float:
        """Seconds of all work."""
        return self.extract + self.store + self.train + self.hold_out + self.evaluate


def log_estimate(workspace: Workspace, config: Config) -> None:
    """Log what a retraining of the ingested videos has to do, and about how long that takes."""
    work = find_workload(workspace, config)
    estimate, problem = None, ""
    if address := joined_address(config.compute.address):
        problem = f"the work is done elsewhere, on the cluster at {address}"
    elif not work.is_empty:
        try:
            estimate = estimate_seconds(config, work, measure(workspace, config, work))
        except StpaError as error:  # the work itself raises it again if it cannot go on
            problem = one_line(error)
    for line in describe(work, estimate, problem):
        logger.info("%s", line)


def estimate_seconds(config: Config, work: Workload, speed: Speed) -> Estimate:
    """Return how long `work` takes at a machine's speed."""
    groups = list(_trained_together(work, speed.num_trainings))
    sweeps = [_sweep_seconds(config, work, name, speed) for name in work.to_evaluate]
    return Estimate(
        extract=_extraction_seconds(work, speed),
        store=_storing_seconds(config, work, speed),
        train=math.fsum(
            max(_training_seconds(config, work.jobs[name], speed) for name in group)
            for group in groups
        ),
        hold_out=_holding_out_seconds(work, speed),
        # All sweeps run in the processes of the first.
        evaluate=speed.start_seconds + math.fsum(sweeps) if sweeps else 0.0,
        trainings_at_once=max(map(len, groups), default=0),
    )


def _trained_together(work: Workload, num_trainings: int) -> Iterator[Sequence[str]]:
    """Yield the networks that train at the same time, as `stpa.flows.train` does."""
    for head in dict.fromkeys(work.jobs[name].head for name in work.to_train):
        names = [name for name in work.to_train if work.jobs[name].head == head]
        if len(names) <= num_trainings:
            yield names
        else:
            yield from ([name] for name in names)


def _extraction_seconds(work: Workload, speed: Speed) -> float:
    if not work.to_extract:
        return 0.0
    at_once = min(speed.num_extractions, len(work.to_extract))
    return speed.start_seconds + _num_frames(work) * speed.extract_seconds / at_once


def _storing_seconds(config: Config, work: Workload, speed: Speed) -> float:
    """Return how long it takes to compute and store features, one stream after the other."""
    sweep, num_views = stored_sweep(config), config.train.stored_views
    seconds = 0.0
    for stream, videos in work.to_store.items():
        num_frames = sum(len(sweep.distinct_positions(video, stream)) for video in videos)
        if num_frames:
            network = speed.networks[f"{stream} {config.heads[0]}"]
            frame_seconds = speed.read_seconds + num_views * network.frame_seconds
            at_once = max(1, min(speed.num_evaluations, len(videos)))
            seconds += speed.start_seconds + num_frames * frame_seconds / at_once
    return seconds


def _training_seconds(config: Config, job: TrainingJob, speed: Speed) -> float:
    computing = speed.networks[job.name].clip_seconds
    # A clip of flow takes no longer: each of its stored frames is a key frame.
    reading = 0.0 if job.learns_from_features else speed.read_seconds * config.train.num_segments
    # Loader processes read the next clips while the trainer computes; without any, it reads too.
    num_readers = config.compute.loader_processes
    clip_seconds = max(computing, reading / num_readers) if num_readers else computing + reading
    num_clips = job.num_steps * job.clips_per_step
    computing_all = num_clips * clip_seconds / config.compute.workers_per_stream
    # A head trains in a process that stays for the next one.
    num_starts = 1 if job.learns_from_features else PROCESSES_IN_A_ROW
    return num_starts * speed.start_seconds + _warming_seconds(job, speed) + computing_all


def _warming_seconds(job: TrainingJob, speed: Speed) -> float:
    """Return how long the head learns alone before its network does, in each worker."""
    return _head_seconds(job, speed) if head_of(job.name) in speed.networks else 0.0


def _head_seconds(job: TrainingJob, speed: Speed) -> float:
    """Return how long a head alone trains on features, for its network or in place of one."""
    if job.learns_from_features:
        head, clip_seconds = job, speed.networks[job.name].clip_seconds
    else:
        head, clip_seconds = job.of_head, speed.networks[head_of(job.name)].clip_seconds
    return head.num_steps * head.clips_per_step * clip_seconds


def _holding_out_seconds(work: Workload, speed: Speed) -> float:
    """Return how long heads train on parts of the videos, in processes that stay."""
    if not work.to_hold_out:
        return 0.0
    jobs = [work.jobs[name] for name in work.to_hold_out]
    each = [_head_seconds(job, speed) for job in jobs]
    at_once = max(1, min(speed.num_evaluations, HELD_OUT_FOLDS))
    return speed.start_seconds + math.fsum(each) * math.ceil(HELD_OUT_FOLDS / at_once)


def _sweep_seconds(config: Config, work: Workload, name: str, speed: Speed) -> float:
    sweep, stream = configured_sweep(config), work.jobs[name].stream
    if work.jobs[name].learns_from_features and sweep.num_crops == 1:
        return 0.0  # what is left to do with stored features takes next to nothing
    # All K share the frames that they have in common.
    num_frames = sum(len(sweep.distinct_positions(video, stream)) for video in work.test_videos)
    frame_seconds = speed.read_seconds + sweep.num_crops * speed.networks[name].frame_seconds
    at_once = max(1, min(speed.num_evaluations, len(work.test_videos)))
    return num_frames * frame_seconds / at_once


def describe(work: Workload, estimate: Estimate | None, problem: str = "") -> Iterator[str]:
    """Yield one line per kind of work, one for what is done, and one for all together.

    Without an estimate, `problem` says why.
    """
    if work.to_extract:
        yield (
            f"to do: optical flow of {len(work.to_extract)} videos ({_num_frames(work):,} frames)"
            f"{_about(estimate and estimate.extract)}"
        )
    if any(work.to_store.values()):
        counts = ", ".join(f"{len(videos)} by {stream}" for stream, videos in work.to_store.items())
        yield f"to do: features of videos ({counts}){_about(estimate and estimate.store)}"
    if work.to_train:
        steps = ", ".join(f"{name} {work.jobs[name].num_steps:,} steps" for name in work.to_train)
        at_once = estimate.trainings_at_once if estimate else 1
        yield (
            f"to do: train {_count(work.to_train)}{f', {at_once} at once' if at_once > 1 else ''} "
            f"({steps}){_about(estimate and estimate.train)}"
        )
    if work.to_hold_out:
        about = _about(estimate and estimate.hold_out)
        heads = f"{len(work.to_hold_out) * HELD_OUT_FOLDS} heads"
        yield f"to do: score training videos by {heads} that have not seen their recordings{about}"
    if work.to_evaluate:
        videos = f"{len(work.test_videos)} test videos"
        about = _about(estimate and estimate.evaluate)
        yield f"to do: evaluate {_count(work.to_evaluate)} on {videos}{about}"
    if unchanged := "; ".join(_unchanged(work)):
        yield f"unchanged: {unchanged}"
    if estimate:
        yield f"in all about {format_duration(estimate.total)}"
    elif problem and not work.is_empty:
        yield f"how long that takes cannot be estimated: {problem}"


def _num_frames(work: Workload) -> int:
    return sum(video.num_frames for video in work.to_extract)


def _about(seconds: float | None) -> str:
    return "" if seconds is None else f": about {format_duration(seconds)}"


def _count(names: Sequence[str]) -> str:
    return f"{len(names)} network{'s' if len(names) > 1 else ''}"


def _unchanged(work: Workload) -> Iterator[str]:
    if work.num_extracted:
        yield f"the optical flow of {work.num_extracted} videos"
    for done, missing in (("trained", work.to_train), ("evaluated", work.to_evaluate)):
        if names := [name for name in work.jobs if name not in missing]:
            yield f"{done} are {', '.join(names)}"
