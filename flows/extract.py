"""Store the optical flow of every video, as a stage of DVC."""

from pathlib import Path

from prefect import flow, task

from stpa.data.versioning import DataVersion
from stpa.flows.watch import RETRIES, name_run, watched, working_in
from stpa.stages.extract import extract as run_extract


@task(**RETRIES, task_run_name="extract-optical-flow")
def extract_optical_flow(root: Path) -> DataVersion:
    """Run the extract stage."""
    with working_in(root) as (workspace, config), watched("extract optical flow") as progress:
        return run_extract(workspace, config, progress)


@flow(name="extract", flow_run_name=name_run)
def extract(root: Path = Path()) -> DataVersion:
    """Extract what is missing in the workspace `root`; return the data version."""
    return extract_optical_flow(root)
