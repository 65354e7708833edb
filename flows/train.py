"""Train the RGB and the flow network, at the same time where the cluster has room."""

from pathlib import Path

from prefect import flow, task
from prefect.futures import wait

from flows.watch import RETRIES, open_workspace, watched
from stpa.compute.tasks import cluster
from stpa.compute.train import trainings_at_once
from stpa.config import Stream
from stpa.interruption import leave_if_asked, leaving_on_sigterm
from stpa.stages.train import TrainedModel, compared_heads
from stpa.stages.train import train as run_train


@task(**RETRIES, task_run_name="train-{stream}-{head}")
def train_network(root: Path, stream: Stream, head: str) -> TrainedModel:
    """Run the train stage for one network."""
    workspace, config = open_workspace(root)
    with watched(f"train {stream} {head}") as progress:
        return run_train(workspace, config, stream, head, progress)


@flow(name="train")
def train(root: Path = Path(), heads: list[str] | None = None) -> list[TrainedModel]:
    """Train both streams with each of `heads` (default: those that params.yaml compares)."""
    _workspace, config = open_workspace(root)
    models = []
    # Within the flow: Prefect's own handler, from before it, would end the tasks at once.
    with cluster(config.compute.address), leaving_on_sigterm():
        together = trainings_at_once(config.compute) >= len(Stream)
        for head in heads or compared_heads(config):
            if together:
                running = [train_network.submit(root, stream, head) for stream in Stream]
                wait(running)  # one that fails must not take the cluster from the other
                models += [future.result() for future in running]
            else:
                models += [train_network(root, stream, head) for stream in Stream]
            leave_if_asked()
    return models
