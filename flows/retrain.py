"""The whole job: from videos to a promoted model."""

import time
from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_link_artifact, create_table_artifact

from stpa.compute.tasks import find_cluster, keeping_cluster
from stpa.flows.evaluate import evaluate
from stpa.flows.extract import extract
from stpa.flows.ingest import ingest
from stpa.flows.promote import promote
from stpa.flows.train import train
from stpa.flows.watch import RETRIES, open_workspace
from stpa.registry.promotion import Decision
from stpa.stages.summarise import Summary
from stpa.stages.summarise import summarise as run_summarise
from stpa.workspace import exclusive


@task(**RETRIES)
def summarise(root: Path, decision: Decision, seconds: float) -> Summary:
    """Run the summarise stage."""
    workspace, config = open_workspace(root)
    return run_summarise(workspace, config, decision, seconds)


@flow(name="retrain")
def retrain(root: Path = Path(), source: Path | None = None) -> Summary:
    """Bring the workspace `root` up to date; what has not changed is not done again."""
    started = time.monotonic()
    workspace, config = open_workspace(root)
    with exclusive(workspace), keeping_cluster():
        find_cluster(config.compute.address)  # rather than after hours of ingest
        ingest(root, source)
        extract(root)
        train(root)
        evaluate(root)
        decision = promote(root)
    summary = summarise(root, decision, time.monotonic() - started)
    table = [{"head": head, **figures} for head, figures in summary.figures.items()]
    create_table_artifact(table, key="summary", description=f"{summary.title} on the test videos")
    create_link_artifact(
        workspace.report.resolve().as_uri(), key="report", link_text="The report of this run"
    )
    return summary
