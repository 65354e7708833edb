"""Compute what the pretrained backbone makes of each video, once, for heads to learn from."""

from pathlib import Path

from prefect import flow, task

from stpa.flows.watch import RETRIES, name_run, watched, working_in
from stpa.stages.features import store_features as run_features


@task(**RETRIES, task_run_name="store-features")
def store_features(root: Path) -> None:
    """Run the features stage."""
    with working_in(root) as (workspace, config), watched("store features") as progress:
        run_features(workspace, config, progress)


@flow(name="features", flow_run_name=name_run)
def features(root: Path = Path()) -> None:
    """Store what is missing in the workspace `root`."""
    store_features(root)
