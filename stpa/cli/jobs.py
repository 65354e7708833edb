"""Run a long command as a job of a cluster, where compute.address names a Jobs API."""

from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import BaseModel
from rich.markup import escape

from stpa.config import Config
from stpa.errors import ConfigError
from stpa.files import digest_value
from stpa.results import RESULTS
from stpa.workspace import Workspace

if TYPE_CHECKING:
    from stpa.compute.jobs import Jobs, Work

INTERRUPTED = 130

AttachOption = Annotated[
    bool,
    typer.Option(
        "--attach",
        help="Follow this workspace's job: that which runs, or else the last. The command runs as "
        "one, and lives on in it, where compute.address is a Jobs API (http://host:8265).",
    ),
]
StopOption = Annotated[bool, typer.Option("--stop", help="Stop this workspace's job that runs.")]


def attend_job(
    workspace: Workspace,
    config: Config,
    command: str,
    arguments: tuple[str, ...],
    *,
    attach: bool,
    stop: bool,
) -> bool:
    """Follow the command's job, or stop it; return False where neither is asked for.

    It may have been submitted with more arguments than these.
    """
    if not (attach or stop):
        return False
    if attach and stop:
        raise ConfigError("--attach follows a job, and --stop ends it: give one of them")
    jobs = _jobs(config)
    if jobs is None:
        raise ConfigError(
            "--attach and --stop are for jobs, but compute.address is "
            f"{config.compute.address or 'null'}: a cluster's Jobs API is http://host:8265"
        )
    from stpa.compute.jobs import Work

    work = Work(command, workspace.root.resolve(), arguments)
    job = jobs.find(work)
    if stop:
        RESULTS.print(f"job {job} " + ("is stopped" if jobs.stop(job) else "had ended"))
    else:
        _follow(jobs, job, work)
    return True


def submit_job(
    workspace: Workspace,
    config: Config,
    command: str,
    arguments: tuple[str, ...],
    *inputs: BaseModel,
) -> bool:
    """Run a command on the cluster of a Jobs API, and show its log; return False to run it here.

    `inputs` decide what it finds, beside the workspace and its parameters.
    """
    jobs = _jobs(config)
    if jobs is None:
        return False
    from stpa.compute.jobs import Work

    digest = digest_value([each.model_dump(mode="json") for each in (config, *inputs)])
    work = Work(command, workspace.root.resolve(), arguments, digest)
    job, started = jobs.submit(work)
    RESULTS.print(f"job {job} " + ("is submitted" if started else "runs already"))
    _follow(jobs, job, work)
    return True


def _jobs(config: Config) -> "Jobs | None":
    from stpa.compute.tasks import jobs_address

    address = jobs_address(config.compute.address)
    if address is None:
        return None
    from stpa.compute.jobs import Jobs

    return Jobs(address)


def _follow(jobs: "Jobs", job: str, work: "Work") -> None:
    try:
        jobs.follow(job, lambda text: RESULTS.out(text, end="", highlight=False))
    except KeyboardInterrupt:
        again = work.entrypoint
        line = f"job {job} goes on; `{again} --attach` follows it, `{again} --stop` ends it"
        RESULTS.print(escape(line), soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
