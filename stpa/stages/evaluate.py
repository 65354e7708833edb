"""Score the test videos with a trained network at every K, once for its inputs."""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from stpa.config import Config, EvaluateConfig
from stpa.data.features import FeatureSource
from stpa.data.manifest import Video, label_matrix, read_manifest
from stpa.errors import DataError
from stpa.evaluation.k_sweep import Sweep
from stpa.evaluation.predict import load_and_score
from stpa.evaluation.scores import Scores, read_scores, write_scores
from stpa.evaluation.unfinished import UnfinishedScores
from stpa.models.checkpoint import load_spec
from stpa.progress import ReportProgress, silent
from stpa.registry.candidate import Serving
from stpa.registry.judgement import Judgement, judge_scores
from stpa.registry.tracking import Dataset, Tracker, open_tracker
from stpa.stages.feature_files import find_features
from stpa.stages.plan import Network, Plan, configured_sweep
from stpa.stages.storage import video_storage
from stpa.stages.sweep import map_on_cluster, sweep_on_cluster
from stpa.stages.tracked_metrics import track_test_metrics
from stpa.stages.train import find_trained
from stpa.streams import STREAMS
from stpa.workspace import Workspace

logger = logging.getLogger(__name__)


def evaluate(plan: Plan, network: Network, progress: ReportProgress = silent) -> Scores:
    """Return the K-sweep of a trained network, from its scores file where there is one."""
    workspace, config, path = plan.workspace, plan.config, network.scores
    model = find_trained(network)
    unfinished = UnfinishedScores(path.with_suffix(".jsonl"))
    tracker = open_tracker(workspace, config.tracking)
    if path.exists():
        unfinished.remove()  # left by a kill between the two last lines
        logger.info("%s is evaluated already", network.name)
        scores = read_scores(path)
        # The same scores may be judged at another K than before.
        track_test_metrics(tracker, model.run_id, scores, config.evaluate)
        return scores
    sweep = configured_sweep(config)
    manifest = read_manifest(workspace.manifest)
    videos = manifest.select("test")
    logits = sweep_on_cluster(
        workspace,
        config,
        network.stream,
        model.folder,
        videos,
        sweep,
        source=_find_features(workspace, config, model.folder, videos, sweep),
        unfinished=unfinished,
        progress=progress,
    )
    scores = Scores(
        stream=network.stream.name,
        head=network.head,
        model_key=network.key,
        data_version=plan.data.id,
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
        Dataset(workspace.name, "test", plan.data, len(videos), manifest.class_names),
    )
    track_scores(tracker, model.run_id, scores, path.name, config.evaluate)
    write_scores(path, scores)  # last: it says that all is done
    unfinished.remove()
    return scores


def _find_features(
    workspace: Workspace,
    config: Config,
    model_folder: Path,
    videos: Sequence[Video],
    sweep: Sweep,
) -> FeatureSource | None:
    """Return the features of videos, where a frozen network is judged by the centre crop."""
    if not config.model.freezes_backbone or sweep.num_crops > 1:
        return None
    return find_features(workspace, config, load_spec(model_folder), videos)


def track_scores(
    tracker: Tracker, run_id: str, scores: Scores, file_name: str, evaluate: EvaluateConfig
) -> None:
    """Keep scores with a run: the file, then the metrics."""
    with tempfile.TemporaryDirectory() as folder:
        write_scores(Path(folder) / file_name, scores)
        tracker.log_files(run_id, Path(folder) / file_name, "scores")
    track_test_metrics(tracker, run_id, scores, evaluate)


def find_scores(network: Network) -> Scores:
    """Return what `evaluate` has found; raise StpaError where it has not run."""
    find_trained(network)
    if not network.scores.exists():
        raise DataError(f"the {network.name} network is not evaluated: run `stpa evaluate` first")
    return read_scores(network.scores)


def judge_served(plan: Plan, networks: Mapping[str, Path], serving: Serving) -> Judgement:
    """Judge a registered fusion's networks, by stream, on the current test videos, as it serves.

    The stored optical flow is its own only if it is made as it was for its training; otherwise,
    or where none is stored any more, the flow of each test video is taken anew in that way.
    """
    assert serving.fusion is not None, "a fusion"
    workspace, config = plan.workspace, plan.config
    manifest = read_manifest(workspace.manifest)
    videos = manifest.select("test")
    reads_flow = any(STREAMS[stream].reads_optical_flow for stream in networks)
    is_stored = config.reads_optical_flow and serving.optical_flow == config.optical_flow
    if is_stored or not reads_flow:
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
        data_version=plan.data.id,
        class_names=serving.class_names,
        video_ids=tuple(video.video_id for video in videos),
        groups=tuple(video.group for video in videos),
    )
