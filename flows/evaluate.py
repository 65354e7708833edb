"""Run the K-sweep of every trained network, and fuse the streams."""

from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_table_artifact

from stpa.evaluation.scores import Scores
from stpa.flows.watch import RETRIES, name_run, open_workspace, watched
from stpa.stages.evaluate import evaluate as run_evaluate
from stpa.stages.fuse import fuse
from stpa.streams import STREAMS


@task(**RETRIES, task_run_name="evaluate-{stream}-{head}")
def evaluate_network(root: Path, stream: str, head: str) -> Scores:
    """Run the evaluate stage for one network."""
    workspace, config = open_workspace(root)
    with watched(f"evaluate {stream} {head}") as progress:
        return run_evaluate(workspace, config, STREAMS[stream], head, progress)


@flow(name="evaluate", flow_run_name=name_run)
def evaluate(root: Path = Path()) -> list[Scores]:
    """Evaluate and fuse the networks of every compared head; return all scores."""
    workspace, config = open_workspace(root)
    scores = []
    for head in config.heads:
        scores += [evaluate_network(root, stream.name, head) for stream in config.streams]
        scores.append(fuse(workspace, config, head))
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
