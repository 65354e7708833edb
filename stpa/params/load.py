"""Read parameters from files: those of a workspace, and other YAML files that hold keys."""

from pathlib import Path
from typing import Any, TypeVar

from stpa.config import Config, Section
from stpa.errors import ConfigError
from stpa.params.check import check_params, find_misshapes
from stpa.params.document import Document, plain, read_document, read_yaml, value_at
from stpa.params.upgrade import require_current, upgrade
from stpa.workspace import Workspace

Part = TypeVar("Part", bound=Section)

AUTO = "auto"
"""An estimator chosen by `stpa.optical_flow.extract.choose_estimator`."""


def load_config(path: Path) -> Config:
    """Read and check a workspace's params file. Raises ConfigError naming every error in it."""
    document = read_workspace(path)
    require_current(document, path)
    params = document.values
    settle_estimator(params, Workspace(path.parent))
    return check_params(params, path)


def load_part(path: Path, part: type[Part]) -> Part:
    """Read and check one of `stpa.params.parts` of a workspace's params file, of any known format.

    Raises ConfigError naming every error in that part alone.
    """
    document = read_workspace(path)
    upgrade(document, path)
    values = _keep_fields(document.values, part)
    if faults := find_misshapes(values, part):
        raise ConfigError(f"{path} has {len(faults)} error(s): " + "; ".join(faults))
    return part.model_validate(values)


def read_workspace(path: Path) -> Document:
    """Read a workspace's params file, of any format. Raises ConfigError where there is none."""
    if not path.exists():
        raise ConfigError(
            f"{path.parent.resolve()} is no workspace, for it has no {path.name}: name another "
            "one with --workspace, or make one with `stpa init FOLDER`"
        )
    return read_document(path)


def read_params(path: Path) -> dict[str, Any]:
    """Read a params file, merged over the files it extends, its relative paths made absolute."""
    return read_document(path).values


def settle_estimator(params: dict[str, Any], workspace: Workspace) -> None:
    """Put a name in the place of the "auto" that `optical_flow.estimator` may be.

    Options are of a named estimator: with options, "auto" is kept and reported as unknown.
    """
    estimator = value_at(params, "optical_flow", "estimator")
    if estimator == AUTO and not value_at(params, "optical_flow", "options"):
        from stpa.optical_flow.extract import choose_estimator

        params["optical_flow"]["estimator"] = choose_estimator(workspace.optical_flow)


def read_mapping(path: Path, kind: str, content: str) -> dict[str, Any]:
    """Read a YAML file of some `kind`, whose `content` is keys; both are for the errors."""
    return plain(read_yaml(path, kind, content)[0])


def _keep_fields(values: Any, model: Any) -> Any:
    """Return the keys of nested `values` that `model` has; other values as they are."""
    if not (isinstance(values, dict) and isinstance(model, type) and issubclass(model, Section)):
        return values
    fields = model.model_fields.items()
    return {
        key: _keep_fields(values[key], field.annotation) for key, field in fields if key in values
    }
