"""Register at Prefect's server what runs by itself on a workspace, as `infra/prefect.yaml` says."""

import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import yaml
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import (
    DeploymentScheduleCreate,
    DeploymentScheduleUpdate,
    DeploymentUpdate,
    WorkPoolCreate,
)
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import (
    ObjectAlreadyExists,
    ObjectNotFound,
    ParameterTypeError,
    PrefectHTTPStatusError,
    SignatureMismatchError,
)
from prefect.settings import PREFECT_API_URL
from prefect.utilities.templating import apply_values
from prefect.workers.process import ProcessWorker
from pydantic import BaseModel, ConfigDict, ValidationError

from stpa.errors import ComputeError, ConfigError, first_line
from stpa.local_server import require_prefect
from stpa.redaction import redact
from stpa.workspace import Workspace

DEFAULT_FILE = Path(__file__).with_name("prefect.yaml")
"""A link to `infra/prefect.yaml`."""


_WRONG_PARAMETERS = (ParameterTypeError, SignatureMismatchError)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Limit(_Section):
    limit: int
    collision_strategy: Literal["CANCEL_NEW", "ENQUEUE"]


class _Pool(_Section):
    name: str
    job_variables: dict[str, Any]


class _Schedule(_Section):
    cron: str
    slug: str
    timezone: str | None = None


class _Entry(_Section):
    """One of the file's deployments."""

    name: str
    description: str
    entrypoint: str
    parameters: dict[str, Any]
    work_pool: _Pool
    concurrency_limit: _Limit
    schedules: tuple[_Schedule, ...]

    def flow(self) -> Flow[..., Any]:
        """Import the flow and check the parameters. Raises ConfigError."""
        module, _, name = self.entrypoint.rpartition(".")
        try:
            flow = getattr(import_module(module), name)
            flow.validate_parameters(self.parameters)
        except (ImportError, AttributeError, ValueError, *_WRONG_PARAMETERS) as error:
            raise ConfigError(f"{self.entrypoint} of {self.name}: {first_line(error)}") from error
        return flow


@dataclass(frozen=True)
class Deployed:
    """A deployment at the server."""

    id: str
    name: str
    """As FLOW/NAME."""
    change: Literal["registered", "changed", "unchanged"]
    when: str
    """When it runs, as "cron (time zone)"."""
    pool: str


def deploy(workspace: Workspace, file: Path = DEFAULT_FILE) -> list[Deployed]:
    """Make the server hold the deployments of `file` for a workspace; equal ones stay as they are.

    Raises ConfigError for what is wrong with the file, and ComputeError where the server refuses.
    """
    entries = read_entries(workspace, file)
    if address := PREFECT_API_URL.value():
        require_prefect(address)
    with _answering(), get_client(sync_client=True) as client:
        for pool in {entry.work_pool.name for entry in entries}:
            _require_pool(client, pool)
        return [_apply(client, workspace, entry) for entry in entries]


def read_entries(workspace: Workspace, file: Path) -> list[_Entry]:
    """Read the deployments of `file`, with a workspace's values for its variables."""
    os.environ |= {
        "STPA_PYTHON": shlex.quote(sys.executable),
        "STPA_WORKSPACE": str(workspace.root.resolve()),
        "STPA_WORKSPACE_NAME": workspace.name,
    }
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
        listed = apply_values(tree["deployments"], {})
        return [_Entry.model_validate(each) for each in listed]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigError(f"{file} lists no deployments: {first_line(error)}") from error
    except ValidationError as error:
        places = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()
        )
        raise ConfigError(f"{file}: {places}: compare it with {DEFAULT_FILE}") from error


@contextmanager
def _answering() -> Iterator[None]:
    """Turn a refusal of the server into one line."""
    try:
        yield
    except PrefectHTTPStatusError as error:
        address = redact(PREFECT_API_URL.value() or "Prefect's own server")
        raise ComputeError(f"{address} refuses: {redact(first_line(error))}") from error


def _require_pool(client: SyncPrefectClient, name: str) -> None:
    """Make the pool of processes, unless there is one of that name, of whatever type."""
    template = ProcessWorker.get_default_base_job_template()
    pool = WorkPoolCreate(name=name, type=ProcessWorker.type, base_job_template=template)
    with suppress(ObjectAlreadyExists):
        client.create_work_pool(pool)


def _apply(client: SyncPrefectClient, workspace: Workspace, entry: _Entry) -> Deployed:
    flow = entry.flow()
    name = f"{flow.name}/{entry.name}"
    wanted = _wanted(entry, flow)
    try:
        found = client.read_deployment_by_name(name)
    except ObjectNotFound:
        change, deployment_id = "registered", _create(client, entry, flow, wanted)
    else:
        _require_own(workspace, found)
        change, deployment_id = "unchanged", found.id
        if _found(found) != wanted:
            change = "changed"
            client.update_deployment(found.id, _update(entry, flow, wanted))
    times = [f"{each.cron} ({_timezone(each)})" for each in entry.schedules]
    when = ", ".join(times) or "by no schedule"
    return Deployed(str(deployment_id), name, change, when, entry.work_pool.name)


def _wanted(entry: _Entry, flow: Flow[..., Any]) -> Mapping[str, Any]:
    """Return what decides whether a deployment is as the file has it."""
    return {
        "description": entry.description,
        "entrypoint": entry.entrypoint,
        "parameters": entry.parameters,
        "work_pool_name": entry.work_pool.name,
        "job_variables": entry.work_pool.job_variables,
        "parameter_openapi_schema": flow.parameters.model_dump(),
        "limit": entry.concurrency_limit.model_dump(),
        "schedules": sorted((each.slug, each.cron, _timezone(each)) for each in entry.schedules),
    }


def _found(deployment: DeploymentResponse) -> Mapping[str, Any]:
    """Return the same of a deployment at the server. Whether it is paused is the user's own."""
    limit, options = deployment.global_concurrency_limit, deployment.concurrency_options
    return {
        "description": deployment.description,
        "entrypoint": deployment.entrypoint,
        "parameters": deployment.parameters,
        "work_pool_name": deployment.work_pool_name,
        "job_variables": deployment.job_variables,
        "parameter_openapi_schema": deployment.parameter_openapi_schema,
        "limit": {
            "limit": limit and limit.limit,
            "collision_strategy": options and options.collision_strategy.value,
        },
        "schedules": sorted(
            (each.slug or "", each.schedule.cron, each.schedule.timezone or "")
            for each in deployment.schedules
            if isinstance(each.schedule, CronSchedule)
        ),
    }


def _create(
    client: SyncPrefectClient, entry: _Entry, flow: Flow[..., Any], wanted: Mapping[str, Any]
) -> Any:
    schedules = [
        DeploymentScheduleCreate(schedule=_cron(each), slug=each.slug) for each in entry.schedules
    ]
    return client.create_deployment(
        client.create_flow(flow),
        entry.name,
        schedules=schedules,
        enforce_parameter_schema=True,
        pull_steps=[],
        **_limits(entry),
        **{name: value for name, value in wanted.items() if name not in ("limit", "schedules")},
    )


def _update(entry: _Entry, flow: Flow[..., Any], wanted: Mapping[str, Any]) -> DeploymentUpdate:
    schedules = [
        DeploymentScheduleUpdate(schedule=_cron(each), slug=each.slug) for each in entry.schedules
    ]
    values = {name: value for name, value in wanted.items() if name not in ("limit", "schedules")}
    return DeploymentUpdate(schedules=schedules, **_limits(entry), **values)


def _limits(entry: _Entry) -> dict[str, Any]:
    strategy = entry.concurrency_limit.collision_strategy
    options = ConcurrencyOptions.model_validate({"collision_strategy": strategy})
    return {"concurrency_limit": entry.concurrency_limit.limit, "concurrency_options": options}


def _require_own(workspace: Workspace, found: DeploymentResponse) -> None:
    """Raise ConfigError where another workspace of the same name has the deployment."""
    other = Workspace(Path(str(found.parameters.get("root", ""))))
    if other.root.resolve() != workspace.root.resolve() and other.params.is_file():
        raise ConfigError(
            f"{found.name} at this server is that of {other.root}: give one of the two folders "
            "another name"
        )


def _cron(schedule: _Schedule) -> CronSchedule:
    try:
        return CronSchedule(cron=schedule.cron, timezone=_timezone(schedule))
    except ValidationError as error:
        told = "; ".join(each["msg"] for each in error.errors())
        raise ConfigError(f"schedule {schedule.slug}, {schedule.cron!r}: {told}") from error


def _timezone(schedule: _Schedule) -> str:
    return schedule.timezone or local_timezone()


def local_timezone() -> str:
    """Return the name of this machine's time zone: a night is meant to be one here."""
    named = os.environ.get("TZ") or str(Path("/etc/localtime").resolve())
    _, _, zone = named.rpartition("zoneinfo/")
    return zone if Path("/usr/share/zoneinfo", zone).is_file() and zone else "UTC"
