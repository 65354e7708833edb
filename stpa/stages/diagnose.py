"""Try what the pipeline needs before a long run finds out; nothing is written to any of it."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from stpa.compute.jobs import Jobs
from stpa.compute.tasks import cluster, jobs_address, joined_address
from stpa.compute.train import trainings_at_once
from stpa.config import Config
from stpa.data.decode import read_flow_stacks, read_frames
from stpa.data.manifest import read_manifest
from stpa.data.versioning import check_remote
from stpa.errors import ComputeError, DataError, ModelError, RegistryError, StpaError
from stpa.local_server import require_prefect
from stpa.models.checkpoint import load_model
from stpa.optical_flow.codec import write_flow_video
from stpa.params import load_config
from stpa.redaction import redact
from stpa.registry.aliases import CHAMPION, fusion_model
from stpa.registry.candidate import read_serving
from stpa.registry.tracking import Version, default_uri, relocate_store
from stpa.registry.tracking.connection import SQLITE
from stpa.registry.tracking.models import Models
from stpa.stages.memory import describe_memory
from stpa.stages.pretrained import describe_weights
from stpa.workspace import Workspace

PACKAGES = ("torch", "timm", "av", "dvc", "ray", "mlflow", "prefect")
MIN_FREE_GB = 5.0


@dataclass(frozen=True)
class Finding:
    """One thing that was tried."""

    subject: str
    passed: bool
    message: str
    """What was found; where it failed, what to do too."""


def diagnose(workspace: Workspace) -> list[Finding]:
    """Try the machine, the parameters and the services; never raises for what it finds."""
    findings = list(_machine(workspace))
    try:
        config = load_config(workspace.params)
    except StpaError as error:
        return [*findings, Finding("parameters", False, str(error))]
    findings.append(Finding("parameters", True, str(workspace.params)))
    checks: dict[str, Callable[[Workspace, Config], str]] = {
        "GPU": _gpu,
        "decoders": _decoders,
        "dataset": _dataset,
        "weights": lambda _workspace, config: describe_weights(config),
        "memory": describe_memory,
        "DVC remote": _remote,
        "Ray": _ray,
        "MLflow": _mlflow,
        "Prefect": _prefect,
    }
    return [*findings, *[_try(*check, workspace, config) for check in checks.items()]]


def _try(
    subject: str,
    check: Callable[[Workspace, Config], str],
    workspace: Workspace,
    config: Config,
) -> Finding:
    try:
        return Finding(subject, True, check(workspace, config))
    except StpaError as error:
        return Finding(subject, False, str(error))
    except Exception as error:  # such as a library that does not load: a finding, too
        return Finding(subject, False, f"{type(error).__name__}: {error}")


def _machine(workspace: Workspace) -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", sys.version_info >= (3, 11), f"{python}; 3.11 or later is needed")
    git = shutil.which("git")
    yield Finding("git", git is not None, git or "not on PATH: install git")
    for package in PACKAGES:
        try:
            yield Finding(package, True, version(package))
        except PackageNotFoundError:
            yield Finding(package, False, "not installed: run `make setup`")
    place = workspace.root if workspace.root.exists() else Path(workspace.root.resolve().anchor)
    free_gb = shutil.disk_usage(place).free / 1e9
    advice = "" if free_gb >= MIN_FREE_GB else f": make room for {MIN_FREE_GB:.0f} GB at least"
    yield Finding("disk", not advice, f"{free_gb:.1f} GB free at {place.resolve()}{advice}")


def _gpu(_workspace: Workspace, config: Config) -> str:
    import torch

    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if config.compute.gpus_per_worker and not names and not joined_address(config.compute.address):
        raise ComputeError(
            f"compute.gpus_per_worker is {config.compute.gpus_per_worker:g}, but no GPU is here: "
            "set it to 0, or compute.address to a cluster that has some"
        )
    return ", ".join(names) or "none here, and none is asked for"


def _decoders(_workspace: Workspace, _config: Config) -> str:
    frames = np.full((5, 2, 32, 32), 128, np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gray.avi"
        write_flow_video(path, frames, width=32, height=32, provenance={})
        stack = read_flow_stacks(path, [0], len(frames))
        picture = read_frames(path, [2])
    if stack.shape != (1, 10, 32, 32) or abs(int(picture.mean()) - 128) > 2:
        raise DataError("a video of gray frames does not come back gray: run `make setup` again")
    return "a small video was written and read back"


def _dataset(workspace: Workspace, _config: Config) -> str:
    if not workspace.manifest.exists():
        return "nothing ingested yet: `stpa ingest FOLDER`"
    manifest = read_manifest(workspace.manifest)
    return f"{len(manifest.videos)} videos, {len(manifest.quarantined)} quarantined"


def _remote(workspace: Workspace, config: Config) -> str:
    return check_remote(workspace.root, config.data.remote)


def _ray(_workspace: Workspace, config: Config) -> str:
    address = joined_address(config.compute.address)
    if address is None:
        return "each command starts a cluster of its own on this machine"
    if jobs_address(address):
        return f"{address} takes jobs; {Jobs(address).running()} run(s) now"
    with cluster(address):
        return f"{address} has room for {trainings_at_once(config.compute)} training(s) at once"


def _mlflow(workspace: Workspace, config: Config) -> str:
    uri = config.tracking.uri or default_uri(workspace)
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists():
        return f"no store at {uri} yet: the first training makes it"
    if not config.tracking.uri:
        relocate_store(workspace)
    models = Models(uri)
    champion = models.version_by_alias(fusion_model(config.promotion.model_name), CHAMPION)
    if champion is None:
        return f"{models.place}: no champion yet"
    try:
        _load(models, champion)
    except StpaError as error:
        raise RegistryError(
            f"{models.place}: champion is version {champion.number}, which does not load "
            f"({error}): bring its files back, or serve the version before by `stpa rollback`"
        ) from error
    return f"{models.place}: champion is version {champion.number}, and loads"


def _load(models: Models, version: Version) -> None:
    """Build a version's networks from the registry's own files, not from the workspace's copy."""
    with tempfile.TemporaryDirectory() as folder:
        model = models.download_model(version, Path(folder))
        read_serving(model.serving, f"{version.name} version {version.number}")
        try:
            for network in model.networks.values():
                load_model(network)
        except ModelError as error:  # whoever reads it finds no copy
            raise ModelError(str(error).replace(f"{folder}/", "")) from error


def _prefect(_workspace: Workspace, _config: Config) -> str:
    address = os.environ.get("PREFECT_API_URL")
    if address is None:
        return "each flow starts a server of its own on this machine"
    require_prefect(address)
    return f"{redact(address)} answers"
