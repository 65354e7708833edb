"""The whole job: from videos to a promoted model."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact

from stpa.compute.tasks import find_cluster, keeping_cluster
from stpa.config import Config
from stpa.errors import InterruptedTrainingError
from stpa.flows.evaluate import evaluate
from stpa.flows.extract import extract
from stpa.flows.features import features
from stpa.flows.ingest import ingest
from stpa.flows.promote import promote
from stpa.flows.train import train
from stpa.flows.watch import RETRIES, name_run, planned, working_in
from stpa.registry.promotion import Decision
from stpa.stages.delivery import deliver_notices
from stpa.stages.estimate import log_estimate
from stpa.stages.notices import note_failure
from stpa.stages.plan import Plan
from stpa.stages.pretrained import prepare_weights
from stpa.stages.summarise import Summary
from stpa.stages.summarise import summarise as run_summarise
from stpa.stages.unchanged import read_inputs, remember
from stpa.workspace import Workspace


@task(**RETRIES, task_run_name="summarise")
def summarise(plan: Plan, decision: Decision, seconds: float) -> Summary:
    """Run the summarise stage."""
    return run_summarise(plan, decision, seconds)


@flow(name="retrain", flow_run_name=name_run)
def retrain(root: Path = Path(), source: Path | None = None) -> Summary:
    """Bring the workspace `root` up to date; what has not changed is not done again."""
    started = time.monotonic()
    with working_in(root) as (workspace, config), _telling(workspace, config):
        inputs = read_inputs(workspace, source)  # before ingest: later ones are for the next run
        with keeping_cluster():
            find_cluster(config.compute.address)  # rather than after hours of ingest
            prepare_weights(config)
            ingest(root, source)
            log_estimate(workspace, config)
            extract(root)
            if config.stores_features:
                features(root)
            with planned(root) as plan:
                train(root)
                evaluate(root)
                decision = promote(root)
                summary = summarise(plan, decision, time.monotonic() - started)
        models = [network.model for network in plan.networks]
        remember(workspace, config, inputs, models, summary.decision.sentence)
    create_markdown_artifact(
        _as_markdown(workspace, config, summary),
        key="report",
        description=f"{summary.title} on the test videos, and where the report is",
    )
    return summary


@contextmanager
def _telling(workspace: Workspace, config: Config) -> Iterator[None]:
    """Deliver the notices of the block, and of earlier ones, unless somebody ends it."""
    try:
        yield
    except InterruptedTrainingError:  # as asked
        raise
    except Exception as error:
        note_failure(workspace, config, error)
        deliver_notices(workspace)
        raise
    deliver_notices(workspace)


def _as_markdown(workspace: Workspace, config: Config, summary: Summary) -> str:
    """Return the metrics and the report's address: browsers open no file:// link of a page."""
    streams = next(iter(summary.figures.values())).keys()
    lines = [
        f"**{summary.decision.sentence}**",
        "",
        f"On the test videos, {summary.title} at K = {summary.num_segments}:",
        "",
        f"| head | {' | '.join(streams)} |",
        "|---" * (1 + len(streams)) + "|",
        *(
            f"| {head} | {' | '.join(f'{figures[stream]:.3f}' for stream in streams)} |"
            for head, figures in summary.figures.items()
        ),
        "",
    ]
    if summary.report_address:
        condition = "" if config.tracking.uri else ", which `stpa ui` serves at its usual ports"
        lines.append(f"[Report]({summary.report_address}){condition}  ")
    return "\n".join([*lines, f"File: `{workspace.report.resolve()}`"])
