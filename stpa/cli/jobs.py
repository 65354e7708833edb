"""How long commands run as jobs of a cluster, where compute.address names a Jobs API."""

import shlex
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.markup import escape

from stpa.config import Config
from stpa.errors import ConfigError
from stpa.files import digest_value
from stpa.results import RESULTS
from stpa.workspace import Workspace

INTERRUPTED = 130

AttachOption = Annotated[
    bool,
    typer.Option(
        "--attach", help="Follow this workspace's job: that which runs, or else the last."
    ),
]
StopOption = Annotated[bool, typer.Option("--stop", help="Stop this workspace's job that runs.")]


def run_as_job(
    workspace: Workspace,
    config: Config,
    command: str,
    arguments: tuple[str, ...],
    *inputs: BaseModel,
    attach: bool,
    stop: bool,
) -> bool:
    """Run a command on the cluster of a Jobs API, and show its log; return False to run it here.

    With `attach` or `stop`, do so to the job that runs, and submit none. `inputs` decide what it
    finds, beside the workspace and its parameters.
    """
    from stpa.compute.tasks import jobs_address

    address = jobs_address(config.compute.address)
    if address is None:
        if attach or stop:
            raise ConfigError(
                "--attach and --stop are for jobs, but compute.address is "
                f"{config.compute.address or 'null'}: a cluster's Jobs API is http://host:8265"
            )
        return False
    from stpa.compute.jobs import Jobs, Work

    if attach and stop:
        raise ConfigError("--attach follows a job, and --stop ends it: give one of them")
    jobs = Jobs(address)
    digest = digest_value([each.model_dump(mode="json") for each in (config, *inputs)])
    work = Work(command, workspace.root.resolve(), arguments, digest)
    again = (
        f"stpa {shlex.join([command, *arguments])} --workspace {shlex.quote(str(workspace.root))}"
    )
    if stop:
        job = jobs.find(work)
        RESULTS.print(f"job {job} " + ("is stopped" if jobs.stop(job) else "had ended"))
        return True
    if attach:
        job = jobs.find(work)
    else:
        job, started = jobs.submit(work)
        RESULTS.print(f"job {job} " + ("is submitted" if started else "runs already"))
    try:
        jobs.follow(job, lambda text: RESULTS.out(text, end="", highlight=False))
    except KeyboardInterrupt:
        line = f"job {job} goes on; `{again} --attach` follows it, `{again} --stop` ends it"
        RESULTS.print(escape(line), soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    return True
