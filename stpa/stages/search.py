"""Search the parameters that one network trains best with, on the training videos alone."""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace

from stpa.compute.search import run_trials
from stpa.compute.tasks import cluster
from stpa.config import Config
from stpa.data.manifest import read_manifest
from stpa.data.versioning import read_version
from stpa.files import digest_value, read_json, write_json
from stpa.progress import ReportProgress, silent
from stpa.registry.lineage import collect_lineage, run_name
from stpa.registry.tracking import Tracker, open_tracker
from stpa.search.space import SearchPlan
from stpa.search.split import split_for_validation
from stpa.search.study import Study
from stpa.stages.search_plan import with_values
from stpa.stages.search_result import SearchResult, write_result
from stpa.stages.search_trials import SearchRun, TrackedTrials
from stpa.stages.train import training_videos
from stpa.stages.training_job import training_job
from stpa.stages.training_key import training_key
from stpa.streams import Stream
from stpa.training.job import TrainingJob
from stpa.training.validation import validation_metric
from stpa.workspace import Workspace

logger = logging.getLogger(__name__)


def search(
    workspace: Workspace,
    config: Config,
    plan: SearchPlan,
    stream: Stream,
    head: str,
    progress: ReportProgress = silent,
) -> SearchResult:
    """Train with values drawn from the plan's space, and write down the best trial's.

    Killed and called again, it goes on with the trials that have not ended, each from its last
    finished epoch. A finished search goes on if the plan now asks for more trials. Raises
    ModelError where no trial runs to its end.
    """
    data = read_version(workspace.root)
    metric = validation_metric(read_manifest(workspace.manifest).multi_label)
    # Whatever the searched keys are now, as the best trial's values may be taken over.
    first = {key: dimension.probes[0] for key, dimension in plan.of_stream(stream).items()}
    fixed = Config.model_validate(with_values(config, first))
    key = search_key(plan, stream, training_key(fixed, stream, head, data))
    run = SearchRun(stream, head, key, workspace.runs / "search" / f"{stream}-{head}-{key}")
    study = Study(run.record, plan.of_stream(stream), config.train.seed)
    tracker = open_tracker(workspace, config.tracking)
    done = {"run_id": tracker.find_run(key), "trials": len(study.ended)}
    if run.done.exists() and read_json(run.done) == done and len(study.ended) >= plan.trials:
        logger.info("%s %s is searched already: %d trials", stream, head, len(study.ended))
        return write_result(workspace, run, study, metric, reused=True)

    lineage = collect_lineage(data) | {"stream": stream.name, "head": head}
    run_id = _open_run(tracker, config, plan, run, lineage)
    job = training_job(workspace, config, stream, head)
    tracker.log_dataset(run_id, training_videos(workspace, data, job))
    trials = TrackedTrials(
        study,
        config,
        run,
        num_trials=plan.trials,
        metric=metric,
        tracker=tracker,
        parent=run_id,
        lineage=lineage,
        progress=progress,
    )
    try:
        if len(study.ended) < plan.trials:
            progress(len(study.ended), plan.trials)
            _run(job, config, plan, run, trials)
        result = write_result(workspace, run, study, metric, reused=False)
        tracker.log_metrics(run_id, {metric: result.trials[0].figure}, step=len(study.ended))
        tracker.log_files(run_id, result.params)
        tracker.log_files(run_id, result.picture)
    except BaseException:
        trials.give_up()
        tracker.close_run(run_id, failed=True)
        raise
    tracker.close_run(run_id)
    write_json(run.done, {"run_id": run_id, "trials": len(study.ended)})
    return result


def search_key(plan: SearchPlan, stream: Stream, training: str) -> str:
    """Digest what decides what a search finds: all but the number of trials, in all or at once.

    `training` is the digest of what a training depends on.
    """
    space = {key: dim.model_dump(mode="json") for key, dim in plan.of_stream(stream).items()}
    decisive = plan.model_dump(mode="json", include={"folds", "early_stopping"})
    return digest_value({"training": training, "space": space, **decisive})


def _open_run(
    tracker: Tracker, config: Config, plan: SearchPlan, run: SearchRun, lineage: Mapping[str, str]
) -> str:
    """Return the id of the search's own run in MLflow."""
    name = run_name(
        *("search", run.stream.name, run.head),
        key=run.key,
        backbone=config.model.backbone,
        data_version=lineage["data.version"],
    )
    values = config.model_dump(mode="json") | {"search": plan.model_dump(mode="json")}
    return tracker.open_run(run.key, name, values, lineage)


def _run(
    whole: TrainingJob,
    config: Config,
    plan: SearchPlan,
    run: SearchRun,
    trials: TrackedTrials,
) -> None:
    """Run the trials that are missing on the cluster."""
    train, validation = split_for_validation(whole.videos, plan.folds)
    job = replace(whole, videos=train, validation=validation)
    searched = plan.space.get(f"train.streams.{run.stream}.epochs")
    epochs = searched.probes if searched else [config.train.stream(run.stream).epochs]
    with cluster(config.compute.address):
        run_trials(
            trials,
            job,
            num_trials=plan.trials,
            folder=run.checkpoints,
            early_stopping=plan.early_stopping,
            max_epochs=int(max(epochs)),
            max_concurrent=plan.max_concurrent,
            compute=config.compute,
            decode_seconds=config.data.decode_deadline_seconds,
        )
    shutil.rmtree(run.checkpoints, ignore_errors=True)
