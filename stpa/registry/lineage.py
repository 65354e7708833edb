"""Where a run came from: the code, the data and the environment, as tags."""

import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path

from stpa.data.versioning import DataVersion
from stpa.files import digest_value
from stpa.version import UNKNOWN, package_version

_SHORT = 6
"""Digits of a digest that tell a workspace's runs apart."""
CODE = Path(__file__).parent
_PACKAGES = (
    "stpa",
    "torch",
    "timm",
    "numpy",
    "av",
    "opencv-contrib-python-headless",
    "ray",
    "mlflow",
    "dvc",
)


def collect_lineage(data_version: DataVersion, code: Path = CODE) -> dict[str, str]:
    """Return the git commit of `code`, the data's DVC hashes, and the versions in use."""
    return {
        "git.commit": _git(code, "rev-parse", "HEAD"),
        "git.dirty": _dirty(code),
        "data.version": data_version.id,
        **{f"data.{part}": digest for part, digest in asdict(data_version).items()},
        "environment.python": platform.python_version(),
        "environment.platform": platform.platform(),
        "environment.gpu": _gpu_name(),
        **{f"environment.{package}": package_version(package) for package in _PACKAGES},
    }


def code_version(code: Path = CODE) -> str:
    """Return a digest of the package's version and, in a clone, of the commit and all changes."""
    changes = _git(code, "diff", "HEAD", "--", str(Path(__file__).parents[1]))
    return digest_value([package_version("stpa"), _git(code, "rev-parse", "HEAD"), changes])


def run_name(*kind: str, key: str, backbone: str, data_version: str) -> str:
    """Name a run for a list of them, whose narrow column should suffice to tell them apart.

    It begins as the folder of a training or a search does: rgb-stpa-43f0f5 mobilenetv2_100
    data-91f4d6.
    """
    return f"{'-'.join(kind)}-{key[:_SHORT]} {backbone} data-{data_version[:_SHORT]}"


def read_data_version(tags: Mapping[str, str]) -> DataVersion | None:
    """Return the data version that `collect_lineage` wrote; None where it is absent or no hash."""
    hashes = [tags.get(f"data.{field.name}", "") for field in fields(DataVersion)]
    whole = all(re.fullmatch("[0-9a-f]{32}", each) for each in hashes)
    return DataVersion(*hashes) if whole else None


def _dirty(root: Path) -> str:
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return changes if changes == UNKNOWN else str(bool(changes)).lower()


def _git(root: Path, *arguments: str) -> str:
    """Return what git says; outside a repository, or without git, nothing is known."""
    try:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return UNKNOWN


def _gpu_name() -> str:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
