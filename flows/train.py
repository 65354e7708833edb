"""Train the networks of each stream, at the same time where the cluster has room."""

import logging
from itertools import product
from pathlib import Path

from prefect import flow, task
from prefect.futures import as_completed

from stpa.compute.tasks import cluster, keeping_cluster
from stpa.compute.train import trainings_at_once
from stpa.config import Config
from stpa.errors import InterruptedTrainingError, one_line
from stpa.flows.watch import RETRIES, name_run, open_workspace, watched
from stpa.interruption import leave_if_asked, leaving_when_asked
from stpa.stages.held_out import score_held_out
from stpa.stages.pretrained import prepare_weights
from stpa.stages.train import TrainedModel, is_trained
from stpa.stages.train import train as run_train
from stpa.streams import STREAMS
from stpa.workspace import exclusive

logger = logging.getLogger(__name__)


@task(**RETRIES, task_run_name="train-{stream}-{head}")
def train_network(root: Path, stream: str, head: str, turn: str) -> TrainedModel:
    """Run the train stage for one network; `turn` says which of all it is, such as "2 of 4"."""
    workspace, config = open_workspace(root)
    with watched(f"train {stream} {head}", turn) as progress:
        return run_train(workspace, config, STREAMS[stream], head, progress)


@task(**RETRIES, task_run_name="hold-out-{stream}-{head}")
def hold_out(root: Path, stream: str, head: str) -> None:
    """Score training videos by heads that have not learnt from their recordings."""
    workspace, config = open_workspace(root)
    with watched(f"hold videos out from {stream} {head}") as progress:
        score_held_out(workspace, config, STREAMS[stream], head, progress)


@flow(name="train", flow_run_name=name_run)
def train(
    root: Path = Path(), heads: list[str] | None = None, streams: list[str] | None = None
) -> list[TrainedModel]:
    """Train `streams` with each of `heads`; by default all that params.yaml names."""
    workspace, config = open_workspace(root)
    wanted = streams or [stream.name for stream in config.streams]
    compared = heads or config.heads
    num_networks = len(wanted) * len(compared)
    models = []
    # Within the flow: Prefect's own handler, from before it, would end the tasks at once.
    with exclusive(workspace), keeping_cluster(), leaving_when_asked():
        prepare_weights(config)  # for all networks, rather than by each of them
        for index, head in enumerate(compared):
            leave_if_asked()
            first = index * len(wanted) + 1
            turns = {
                stream: f"{number} of {num_networks}" for number, stream in enumerate(wanted, first)
            }
            missing = [
                each for each in wanted if not is_trained(workspace, config, STREAMS[each], head)
            ]
            if len(missing) > 1 and _have_room(config, len(missing)):
                models += _train_together(root, head, turns)
            else:
                models += [train_network(root, each, head, turn) for each, turn in turns.items()]
        if config.fits_fusion:
            for head, stream in product(compared, wanted):
                leave_if_asked()
                hold_out(root, stream, head)
    return models


def _have_room(config: Config, num_trainings: int) -> bool:
    with cluster(config.compute.address):
        return trainings_at_once(config.compute) >= num_trainings


def _train_together(root: Path, head: str, turns: dict[str, str]) -> list[TrainedModel]:
    """Train the streams of `turns` at the same time; one that fails does not take the cluster
    from the others.
    """
    running = [train_network.submit(root, stream, head, turn) for stream, turn in turns.items()]
    for ended in as_completed(running):
        fault = ended.result(raise_on_failure=False)
        # Its words would else come with the end of the last.
        if isinstance(fault, Exception) and not isinstance(fault, InterruptedTrainingError):
            logger.error("a training has failed: %s", one_line(fault))
    return [each.result() for each in running]
