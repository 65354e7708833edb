"""Train the networks of each stream, at the same time where the cluster has room."""

import logging
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

from prefect import flow, task
from prefect.futures import as_completed

from stpa.compute.tasks import cluster, keeping_cluster
from stpa.compute.train import trainings_at_once
from stpa.config import Config
from stpa.errors import InterruptedTrainingError, one_line
from stpa.flows.watch import RETRIES, name_run, planned, watched
from stpa.interruption import leave_if_asked, leaving_when_asked
from stpa.stages.held_out import score_held_out
from stpa.stages.plan import Network, Plan
from stpa.stages.pretrained import prepare_weights
from stpa.stages.train import TrainedModel
from stpa.stages.train import train as run_train

logger = logging.getLogger(__name__)


@task(**RETRIES, task_run_name="train-{network.stream}-{network.head}")
def train_network(plan: Plan, network: Network, turn: str) -> TrainedModel:
    """Run the train stage for one network; `turn` says which of all it is, such as "2 of 4"."""
    with watched(f"train {network.name}", turn) as progress:
        return run_train(plan, network, progress)


@task(**RETRIES, task_run_name="hold-out-{network.stream}-{network.head}")
def hold_out(plan: Plan, network: Network) -> None:
    """Score training videos by heads that have not learnt from their recordings."""
    with watched(f"hold videos out from {network.name}") as progress:
        score_held_out(plan, network, progress)


@flow(name="train", flow_run_name=name_run)
def train(
    root: Path = Path(), heads: list[str] | None = None, streams: list[str] | None = None
) -> list[TrainedModel]:
    """Train `streams` with each of `heads`; by default all that params.yaml names."""
    models = []
    # Within the flow: Prefect's own handler, from before it, would end the tasks at once.
    with planned(root) as plan, keeping_cluster(), leaving_when_asked():
        config = plan.config
        prepare_weights(config)  # for all networks, rather than by each of them
        wanted = [
            each
            for each in plan.networks
            if (not heads or each.head in heads) and (not streams or each.stream.name in streams)
        ]
        turns = {each: f"{turn} of {len(wanted)}" for turn, each in enumerate(wanted, start=1)}
        for _head, group in groupby(wanted, lambda each: each.head):
            leave_if_asked()
            of_head = {each: turns[each] for each in group}
            num_missing = sum(not each.is_trained for each in of_head)
            if num_missing > 1 and _have_room(config, num_missing):
                models += _train_together(plan, of_head)
            else:
                models += [train_network(plan, each, turn) for each, turn in of_head.items()]
        if config.fits_fusion:
            for network in wanted:
                leave_if_asked()
                hold_out(plan, network)
    return models


def _have_room(config: Config, num_trainings: int) -> bool:
    with cluster(config.compute.address):
        return trainings_at_once(config.compute) >= num_trainings


def _train_together(plan: Plan, turns: Mapping[Network, str]) -> list[TrainedModel]:
    """Train networks at the same time; one that fails does not take the cluster from the others."""
    running = [train_network.submit(plan, network, turn) for network, turn in turns.items()]
    for ended in as_completed(running):
        fault = ended.result(raise_on_failure=False)
        # Its words would else come with the end of the last.
        if isinstance(fault, Exception) and not isinstance(fault, InterruptedTrainingError):
            logger.error("a training has failed: %s", one_line(fault))
    return [each.result() for each in running]
