"""Search the parameters that networks train best with."""

from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_table_artifact

from stpa.flows.watch import RETRIES, name_run, open_workspace, watched, working_in
from stpa.stages.pretrained import prepare_weights
from stpa.stages.search import search as run_search
from stpa.stages.search_plan import read_plan, searched_streams
from stpa.stages.search_result import SearchResult
from stpa.streams import STREAMS


@task(**RETRIES, task_run_name="search-{stream}-{head}")
def search_network(root: Path, space: Path, stream: str, head: str) -> SearchResult:
    """Run the search stage for one network."""
    workspace, config = open_workspace(root)
    plan = read_plan(space, config)
    with watched(f"search {stream} {head}") as progress:
        return run_search(workspace, config, plan, STREAMS[stream], head, progress)


@flow(name="search", flow_run_name=name_run)
def search(
    space: Path, root: Path = Path(), stream: str | None = None, head: str | None = None
) -> list[SearchResult]:
    """Search each network that the file `space` varies, or that of `stream` alone."""
    results = []
    with working_in(root) as (_workspace, config):
        prepare_weights(config)
        for each in searched_streams(read_plan(space, config), config, stream):
            result = search_network(root, space, each.name, head or config.heads[0])
            create_table_artifact(
                [
                    {"trial": trial.number, "outcome": trial.outcome, result.metric: trial.figure}
                    | trial.values
                    for trial in result.trials
                ],
                key=f"search-{each}",
                description=f"Trials of {each} {result.head}, the best first",
            )
            results.append(result)
    return results
