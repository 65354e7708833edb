"""Find within seconds whether a retraining would change anything, before anything starts.

What the last one was made from is written down when it has ended. An equal listing of the source,
equal parameters, code and records of DVC, and results that are all there, leave nothing to do.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from stpa.config import Config
from stpa.data import versioning
from stpa.data.datasets.base import find_files, require_folder
from stpa.errors import StpaError
from stpa.files import digest_value, write_text
from stpa.params import read_params
from stpa.params.document import WEIGHTS, value_at
from stpa.registry.lineage import code_version
from stpa.workspace import Workspace

_NO_INPUTS = ("notices",)
"""Sections of params.yaml that decide no result."""
_OWN = "."
"""Stands for the workspace's own videos, wherever it is moved to."""


class Retraining(BaseModel):
    """A retraining that has ended, in digests of what it was made from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    params: str
    code: str
    data: str
    listings: dict[str, str]
    """Of each folder that now holds the videos: the source, and the workspace's own. An equal one
    anywhere, as of a source that was moved, is of the same videos."""
    results: tuple[str, ...]
    """Files and folders that it left, relative to the workspace."""
    ended: str
    """Local time, by ISO 8601."""
    decision: str


@dataclass(frozen=True)
class Inputs:
    """What a retraining that begins is made from."""

    params: str
    code: str
    folder: str
    listing: str


def record_path(workspace: Workspace) -> Path:
    """Return the file whose removal makes the next retraining look at everything again."""
    return workspace.runs / "retrained.json"


def read_inputs(workspace: Workspace, source: Path | None) -> Inputs:
    """Look at what a retraining would be made from; raise DataError where the source is missing."""
    folder = _source_folder(workspace, source)
    name = _name(workspace, folder)
    is_to_come = name == _OWN and not folder.exists()  # generated clips, before the first ingest
    listing = "" if is_to_come else list_folder(folder)
    return Inputs(_digest_params(workspace), code_version(), name, listing)


def find_unchanged(workspace: Workspace, source: Path | None) -> Retraining | None:
    """Return the last retraining where another one would change nothing; else None.

    What is wrong with the parameters or the source is for the retraining to report.
    """
    last = read_last(workspace)
    if last is None:
        return None
    try:
        inputs = read_inputs(workspace, source)
    except StpaError:
        return None
    equal = (last.params, last.code) == (inputs.params, inputs.code)
    equal = equal and inputs.listing in last.listings.values()
    equal = equal and last.data == versioning.recorded_state(workspace.root)
    there = equal and all((workspace.root / path).exists() for path in last.results)
    return last if there else None


def holds_listing(workspace: Workspace, inputs: Inputs) -> bool:
    """Tell whether the last retraining had the videos of `inputs`."""
    last = read_last(workspace)
    return last is not None and inputs.listing in last.listings.values()


def remember(
    workspace: Workspace, config: Config, inputs: Inputs, models: Iterable[Path], decision: str
) -> None:
    """Write down a retraining that has ended.

    `inputs` are those of its start: what has come since then is for the next one. `models` are the
    folders of its networks.
    """
    results = [workspace.report, workspace.summary, workspace.manifest, workspace.optical_flow]
    if config.tracking.uri is None:
        results.append(workspace.mlflow)
    own = list_folder(workspace.videos)
    record = Retraining(
        params=inputs.params,
        code=inputs.code,
        data=versioning.recorded_state(workspace.root),
        listings={_OWN: own} | {inputs.folder: own if inputs.folder == _OWN else inputs.listing},
        results=tuple(str(path.relative_to(workspace.root)) for path in [*results, *models]),
        ended=datetime.now().isoformat(sep=" ", timespec="seconds"),
        decision=decision,
    )
    write_text(record_path(workspace), record.model_dump_json(indent=2) + "\n")


def read_last(workspace: Workspace) -> Retraining | None:
    """Return the last retraining that ended; None where there is none, or its record is broken."""
    try:
        return Retraining.model_validate_json(record_path(workspace).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def list_folder(folder: Path) -> str:
    """Return a digest of the names, sizes and times of a folder's files, without reading them.

    Raises DataError where there is no folder.
    """
    require_folder(folder)
    found = [(path.relative_to(folder).as_posix(), path.stat()) for path in find_files(folder)]
    return digest_value([(name, stat.st_size, stat.st_mtime_ns) for name, stat in found])


def _source_folder(workspace: Workspace, source: Path | None) -> Path:
    configured = value_at(read_params(workspace.params), "data", "source")
    if source is None and configured is not None:
        source = workspace.root / configured
    return workspace.videos if source is None else source


def _name(workspace: Workspace, folder: Path) -> str:
    resolved = folder.resolve()
    return _OWN if resolved == workspace.videos.resolve() else str(resolved)


def _digest_params(workspace: Workspace) -> str:
    params = read_params(workspace.params)
    weights = [value_at(params, *place) for place in WEIGHTS]
    files = [Path(each).stat() for each in weights if type(each) is str and Path(each).is_file()]
    values = {name: section for name, section in params.items() if name not in _NO_INPUTS}
    return digest_value([values, [(stat.st_size, stat.st_mtime_ns) for stat in files]])
