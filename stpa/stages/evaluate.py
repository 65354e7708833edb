"""Score the test videos with a trained network at every K, once for its inputs."""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from stpa.config import Config, EvaluateConfig
from stpa.data.features import FeatureSource
from stpa.data.manifest import Video, label_matrix, read_manifest
from stpa.data.versioning import read_version
from stpa.errors import DataError
from stpa.evaluation.k_sweep import Sweep
from stpa.evaluation.predict import load_and_score
from stpa.evaluation.scores import Scores, read_scores, write_scores
from stpa.evaluation.unfinished import UnfinishedScores
from stpa.files import digest_value
from stpa.models.checkpoint import load_spec
from stpa.progress import ReportProgress, silent
from stpa.registry.candidate import Serving
from stpa.registry.judgement import Judgement, judge_scores
from stpa.registry.tracking import Dataset, Tracker, open_tracker
from stpa.stages.feature_files import find_features
from stpa.stages.storage import video_storage
from stpa.stages.sweep import map_on_cluster, sweep_on_cluster
from stpa.stages.tracked_metrics import track_test_metrics
from stpa.stages.train import TrainedModel, find_trained
from stpa.streams import STREAMS, Stream
from stpa.workspace import Workspace

logger = logging.getLogger(__name__)


def evaluate(
    workspace: Workspace,
    config: Config,
    stream: Stream,
    head: str,
    progress: ReportProgress = silent,
) -> Scores:
    """Return the K-sweep of a trained network, from its scores file where there is one."""
    model = find_trained(workspace, config, stream, head)
    path = _scores_file(workspace, config, model)
    unfinished = UnfinishedScores(path.with_suffix(".jsonl"))
    tracker = open_tracker(workspace, config.tracking)
    if path.exists():
        unfinished.remove()  # left by a kill between the two last lines
        logger.info("%s %s is evaluated already", stream, head)
        scores = read_scores(path)
        # The same scores may be judged at another K than before.
        track_test_metrics(tracker, model.run_id, scores, config.evaluate)
        return scores
    data_version = read_version(workspace.root)
    sweep = today_sweep(config)
    manifest = read_manifest(workspace.manifest)
    videos = manifest.select("test")
    logits = sweep_on_cluster(
        workspace,
        config,
        stream,
        model.folder,
        videos,
        sweep,
        source=_find_features(workspace, config, model, videos, sweep),
        unfinished=unfinished,
        progress=progress,
    )
    scores = Scores(
        stream=stream.name,
        head=head,
        model_key=model.key,
        data_version=data_version.id,
        class_names=manifest.class_names,
        multi_label=manifest.multi_label,
        video_ids=tuple(video.video_id for video in videos),
        labels=label_matrix(videos, manifest.class_names),
        logits={
            k: np.stack([logits[video.video_id][k] for video in videos]) for k in sweep.values_of_k
        },
    )
    tracker.log_dataset(
        model.run_id,
        Dataset(workspace.name, "test", data_version, len(videos), manifest.class_names),
    )
    track_scores(tracker, model.run_id, scores, path.name, config.evaluate)
    write_scores(path, scores)  # last: it says that all is done
    unfinished.remove()
    return scores


def _find_features(
    workspace: Workspace,
    config: Config,
    model: TrainedModel,
    videos: Sequence[Video],
    sweep: Sweep,
) -> FeatureSource | None:
    """Return the features of videos, where a frozen network is judged by the centre crop."""
    if not config.model.freezes_backbone or sweep.num_crops > 1:
        return None
    return find_features(workspace, config, load_spec(model.folder), videos)


def track_scores(
    tracker: Tracker, run_id: str, scores: Scores, file_name: str, evaluate: EvaluateConfig
) -> None:
    """Keep scores with a run: the file, then the metrics."""
    with tempfile.TemporaryDirectory() as folder:
        write_scores(Path(folder) / file_name, scores)
        tracker.log_files(run_id, Path(folder) / file_name, "scores")
    track_test_metrics(tracker, run_id, scores, evaluate)


def today_sweep(config: Config) -> Sweep:
    """Return what params.yaml says is looked at of each test video."""
    values_of_k = tuple(sorted(set(config.evaluate.sweep)))
    return Sweep(values_of_k, config.evaluate.grid, config.evaluate.num_crops)


def is_evaluated(workspace: Workspace, config: Config, stream: Stream, head: str) -> bool:
    """Return whether `find_scores` finds those of a trained network."""
    return _scores_file(workspace, config, find_trained(workspace, config, stream, head)).exists()


def find_scores(workspace: Workspace, config: Config, stream: Stream, head: str) -> Scores:
    """Return the scores that `evaluate` made from today's inputs; raise DataError for none."""
    path = _scores_file(workspace, config, find_trained(workspace, config, stream, head))
    if not path.exists():
        raise DataError(f"the {stream} {head} network is not evaluated: run `stpa evaluate` first")
    return read_scores(path)


def _scores_file(workspace: Workspace, config: Config, model: TrainedModel) -> Path:
    determinants = {
        "model": model.key,
        "data": read_version(workspace.root).id,
        "sweep": asdict(today_sweep(config)),
    }
    name = f"{model.stream}-{model.head}-{digest_value(determinants)}.parquet"
    return workspace.runs / "evaluate" / name


def judge_served(
    workspace: Workspace, config: Config, networks: Mapping[str, Path], serving: Serving
) -> Judgement:
    """Judge a registered fusion's networks, by stream, on the current test videos, as it serves.

    Today's stored optical flow is its own only if it is made as it was for its training;
    otherwise the flow of each test video is taken anew in that way.
    """
    assert serving.fusion is not None, "a fusion"
    manifest = read_manifest(workspace.manifest)
    videos = manifest.select("test")
    if serving.optical_flow == config.optical_flow:
        k = serving.num_segments
        sweep = Sweep((k,), config.evaluate.grid, serving.num_crops)
        stacked = {}
        for stream, folder in networks.items():
            logits = sweep_on_cluster(workspace, config, STREAMS[stream], folder, videos, sweep)
            stacked[stream] = np.stack([logits[video.video_id][k] for video in videos])
        multi_label = load_spec(next(iter(networks.values()))).multi_label
        scores = serving.fusion.rule(multi_label)(stacked)
    else:
        score = partial(
            load_and_score,
            storage=video_storage(workspace, config),
            networks={stream: folder.resolve() for stream, folder in networks.items()},
            fusion=serving.fusion,
            num_segments=serving.num_segments,
            num_crops=serving.num_crops,
            optical_flow=serving.optical_flow.model_dump(),
            device=config.compute.device,
        )
        found = {video.video_id: scores for video, scores in map_on_cluster(config, score, videos)}
        scores = np.stack([found[video.video_id] for video in videos])
    return judge_scores(
        scores,
        [video.distinct_labels for video in videos],
        multi_label=manifest.multi_label,
        data_version=read_version(workspace.root).id,
        class_names=serving.class_names,
        video_ids=tuple(video.video_id for video in videos),
        groups=tuple(video.group for video in videos),
    )
