"""Run the K-sweep of every trained network, and fuse the streams."""

from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_table_artifact

from stpa.evaluation.scores import Scores
from stpa.flows.watch import RETRIES, name_run, planned, watched
from stpa.stages.evaluate import evaluate as run_evaluate
from stpa.stages.fuse import fuse
from stpa.stages.plan import Network, Plan


@task(**RETRIES, task_run_name="evaluate-{network.stream}-{network.head}")
def evaluate_network(plan: Plan, network: Network) -> Scores:
    """Run the evaluate stage for one network."""
    with watched(f"evaluate {network.name}") as progress:
        return run_evaluate(plan, network, progress)


@flow(name="evaluate", flow_run_name=name_run)
def evaluate(root: Path = Path()) -> list[Scores]:
    """Evaluate and fuse the networks of every compared head; return all scores."""
    scores = []
    with planned(root) as plan:
        for head in plan.config.heads:
            scores += [evaluate_network(plan, network) for network in plan.of_head(head)]
            scores.append(fuse(plan, head))
    create_table_artifact(
        [
            {"head": part.head, "stream": part.stream, "K": k, **part.figures(k)}
            for part in scores
            for k in sorted(part.logits)
        ],
        key="k-sweep",
        description="Figures on the test videos by number of segments",
    )
    return scores
