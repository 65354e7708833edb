"""Check what the pipeline needs before a long run finds out."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from stpa.config import Config
from stpa.data.manifest import read_manifest
from stpa.errors import DataError, StpaError
from stpa.params import load_config
from stpa.registry.aliases import fusion_model
from stpa.registry.tracking import open_tracker
from stpa.workspace import Workspace

PACKAGES = ("torch", "timm", "av", "decord", "dvc", "ray", "mlflow", "prefect")
MIN_FREE_GB = 5.0
RECORDS_MB = 50.0
"""What the new databases of Prefect and MLflow take, and some."""


@dataclass(frozen=True)
class Finding:
    """One thing that was checked."""

    subject: str
    passed: bool
    message: str


def diagnose(workspace: Workspace) -> list[Finding]:
    """Check the machine, the parameters and the services; never raises for what it finds."""
    findings = list(_machine(workspace))
    try:
        config = load_config(workspace.params)
    except StpaError as error:
        return [*findings, Finding("parameters", False, str(error))]
    findings.append(Finding("parameters", True, str(workspace.params)))
    checks: dict[str, Callable[[Workspace, Config], str]] = {
        "dataset": _dataset,
        "tracking": _tracking,
    }
    for subject, check in checks.items():
        try:
            findings.append(Finding(subject, True, check(workspace, config)))
        except StpaError as error:
            findings.append(Finding(subject, False, str(error)))
    return findings


def require_room(workspace: Workspace) -> None:
    """Raise DataError where not even the records fit: their servers would only time out."""
    free_mb = shutil.disk_usage(workspace.root).free / 1e6
    if free_mb < RECORDS_MB:
        raise DataError(
            f"no space is left for {workspace.root.resolve()}: {free_mb:.0f} MB are free, but "
            f"records alone need {RECORDS_MB:.0f}: free some and run the same command again"
        )


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
    place = workspace.root if workspace.root.exists() else workspace.root.resolve().anchor
    free_gb = shutil.disk_usage(place).free / 1e9
    yield Finding("disk", free_gb >= MIN_FREE_GB, f"{free_gb:.0f} GB free")
    yield Finding("processors", True, f"{len(os.sched_getaffinity(0))} cores; {_gpus()}")


def _gpus() -> str:
    import torch

    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ", ".join(names) or "no GPU"


def _dataset(workspace: Workspace, _config: Config) -> str:
    if not workspace.manifest.exists():
        return "nothing ingested yet: `stpa ingest FOLDER`"
    manifest = read_manifest(workspace.manifest)
    return f"{len(manifest.videos)} videos, {len(manifest.quarantined)} quarantined"


def _tracking(workspace: Workspace, config: Config) -> str:
    tracker = open_tracker(workspace, config.tracking)
    aliases = tracker.registered(fusion_model(config.promotion.model_name)).aliases
    served = aliases.get("champion")
    return f"{tracker.place}: " + (f"champion {served}" if served else "no champion yet")
