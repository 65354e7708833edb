"""Scores of training videos by heads that have not learnt from their recordings.

They say what each stream and each head is worth on new videos, while the test videos are not
looked at: how the streams are weighed, and which head is put up for promotion, is decided by them.
The heads learn from stored features, in seconds; where whole networks are trained, they are those
of a warm start, and stand for the networks.
"""

import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stpa.compute.memory_share import memory_share, node_cpus
from stpa.config import ComputeConfig
from stpa.data.manifest import Video, label_matrix, read_manifest
from stpa.errors import DataError, ModelError
from stpa.evaluation.k_sweep import Sweep, sweep_video
from stpa.evaluation.scores import Scores, read_scores, write_scores
from stpa.models.checkpoint import load_model
from stpa.progress import ReportProgress, silent
from stpa.search.split import split_for_validation
from stpa.shapes import Float
from stpa.stages.feature_files import stored_sweep
from stpa.stages.plan import HELD_OUT_FOLDS, Network, Plan, held_out_segments
from stpa.stages.storage import stream_storage
from stpa.stages.sweep import map_on_cluster
from stpa.stages.training_job import training_job, unmeasured_job
from stpa.training.fit import LastCheckpoint, Place, fit
from stpa.training.job import TrainingJob


@dataclass(frozen=True)
class Fold:
    """A head's training on a part of the training videos, and those that it leaves out."""

    job: TrainingJob
    held_out: tuple[Video, ...]

    def __str__(self) -> str:
        """Return what an error calls it."""
        return f"{self.job.name}, without {len(self.held_out)} videos"


class HeldOut(NamedTuple):
    """Scores of the same training videos by each stream, and the videos' recordings."""

    streams: tuple[Scores, ...]
    groups: tuple[str, ...]


def score_held_out(
    plan: Plan, network: Network, progress: ReportProgress = silent
) -> Scores | None:
    """Return the scores of training videos by heads that have not seen their recordings.

    At a single K. They are read where they were made from the same inputs. A class of a single
    recording has none; where no recording can be spared, there are none at all.
    """
    path, config = network.held_out_scores, plan.config
    if path.exists():
        return read_scores(path)
    whole = training_job(plan.workspace, config, network.stream, network.head)
    folds = folds_of(whole if whole.learns_from_features else whole.of_head)
    if not folds:
        return None
    k = held_out_segments(config)
    score = partial(
        _score_fold,
        sweep=stored_sweep(config),
        num_segments=k,
        compute=config.compute,
    )
    logits: dict[str, Float[np.ndarray, " classes"]] = {}
    for done, (_fold, found) in enumerate(map_on_cluster(config, score, folds), start=1):
        logits |= found
        progress(done, len(folds))
    videos = [video for video in whole.videos if video.video_id in logits]
    scores = Scores(
        stream=network.stream.name,
        head=network.head,
        model_key=path.stem,
        data_version=plan.data.id,
        class_names=whole.class_names,
        multi_label=whole.multi_label,
        video_ids=tuple(video.video_id for video in videos),
        labels=label_matrix(videos, whole.class_names),
        logits={k: np.stack([logits[video.video_id] for video in videos])},
    )
    write_scores(path, scores)
    return scores


def folds_of(job: TrainingJob) -> list[Fold]:
    """Hold recordings out, each at most once, as far as its classes have others.

    There may be no fold, and recordings that none holds out.
    """
    folds, scored = [], set()
    for split in range(1, HELD_OUT_FOLDS + 1):
        with suppress(DataError):  # none can be spared
            train, held_out = split_for_validation(job.videos, HELD_OUT_FOLDS, split)
            # A class of fewer recordings than folds lends one of them twice.
            held_out = tuple(video for video in held_out if video.video_id not in scored)
            scored |= {video.video_id for video in held_out}
            folds.append(Fold(replace(job, videos=train), held_out))
    return [fold for fold in folds if fold.held_out]


def find_held_out(plan: Plan, head: str) -> HeldOut | None:
    """Return what `score_held_out` has found for a head by all streams, if anything.

    Raises ModelError where it has not run for today's inputs.
    """
    found = [_find_scores(plan, network) for network in plan.of_head(head)]
    scores = tuple(each for each in found if each is not None)
    if len(scores) < len(found):
        return None
    group_of = read_manifest(plan.workspace.manifest).group_of
    return HeldOut(scores, tuple(group_of[video_id] for video_id in scores[0].video_ids))


def _find_scores(plan: Plan, network: Network) -> Scores | None:
    if network.held_out_scores.exists():
        return read_scores(network.held_out_scores)
    workspace, config, stream = plan.workspace, plan.config, network.stream
    manifest = read_manifest(workspace.manifest)
    storage = stream_storage(workspace, config, stream)
    if not folds_of(unmeasured_job(manifest, config, stream, network.head, storage)):
        return None
    raise ModelError(
        f"no training videos are held out from a {network.name} yet: run `stpa train` first"
    )


def _score_fold(
    fold: Fold, *, sweep: Sweep, num_segments: int, compute: ComputeConfig
) -> dict[str, Float[np.ndarray, " classes"]]:
    """Train the head of a fold in a worker; return the logits of the videos held out, by id."""
    source = fold.job.features
    assert source is not None, "heads learn from features"
    share = memory_share(compute, node_cpus(), HELD_OUT_FOLDS)
    place = Place(device=compute.device, memory_share=share)
    with tempfile.TemporaryDirectory() as folder:
        fit(fold.job, place, LastCheckpoint(fold.job, Path(folder)))
        network = load_model(Path(folder))
    return {
        video.video_id: sweep_video(network, video, source, sweep)[num_segments]
        for video in fold.held_out
    }
