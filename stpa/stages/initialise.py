"""Make a workspace from a params file, or change the parameters of one."""

from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from stpa.config import Config
from stpa.data.datasets.base import VIDEO_SUFFIXES, is_hidden
from stpa.errors import ConfigError
from stpa.files import back_up, write_text
from stpa.params import (
    EXTENDS,
    Change,
    Document,
    check_params,
    find_changes,
    read_document,
    require_current,
    settle_estimator,
    upgrade,
)
from stpa.presets import preset_name, preset_path
from stpa.version import package_version
from stpa.workspace import Workspace

PIPELINE = Path(__file__).with_name("pipeline.yaml")
"""The stages that DVC keeps, the same in every workspace. DVC reads files that are named dvc.yaml
anywhere in a repository, so this one is not."""

_WHERE_VIDEOS_ARE = ("*", "*/*", "*/*/*")
"""In a dataset: at its top, in one folder per class, or in such folders below an archive's name."""


@dataclass(frozen=True)
class Initialised:
    """What was done to a workspace's files."""

    made_from: str | None
    """What a new workspace has its parameters from; None for one that was there."""
    changes: tuple[Change, ...]
    """Keys of a params.yaml that was there whose values are others now."""
    backups: tuple[Path, ...]
    """Copies of the files that were replaced."""


class ReplacementError(ConfigError):
    """Values of a params.yaml would be lost, and nobody asked for that."""

    def __init__(self, path: Path, changes: tuple[Change, ...]) -> None:
        """Name the file; `changes` are for the caller to show."""
        super().__init__(
            f"{path} stays as it is, but has other values for {len(changes)} key(s): --replace "
            "takes the new ones, and keeps a copy of the old file"
        )
        self.changes = changes


def initialise(workspace: Workspace, params: Path, *, replace: bool = False) -> Initialised:
    """Make the workspace's params.yaml from the file `params`; data and results stay.

    The written file stands alone: it extends no other, its paths are absolute, and what `params`
    leaves to the machine is settled. If `params` extends the workspace's own params.yaml, its
    values replace those there; if another file would change values, raises ReplacementError,
    unless `replace`.
    """
    document = read_document(params)
    upgrade(document, params)
    _require_all_sections(document, params, workspace)
    values = document.values
    settle_estimator(values, workspace)
    check_params(values, params)
    if workspace.params.resolve() in document.files and preset_name(params) is None:
        return _edit(workspace, document)
    settle_estimator(document.root, workspace)
    if workspace.params.exists():
        return _replace(workspace, document, params, replace=replace)
    _require_room_for_workspace(workspace.root, replace=replace)
    return Initialised(_origin(params), (), _write(workspace, document, params))


def write_pipeline(workspace: Workspace) -> tuple[Path, ...]:
    """Write dvc.yaml; return the copy of another one that was there."""
    pipeline = workspace.root / "dvc.yaml"
    if pipeline.exists() and _is_ours(pipeline):
        return ()
    backups = (back_up(pipeline),) if pipeline.exists() else ()
    write_text(pipeline, PIPELINE.read_text(encoding="utf-8"))
    return backups


def _edit(workspace: Workspace, document: Document) -> Initialised:
    """Write the workspace's params.yaml with the values that a file which extends it has."""
    present = read_document(workspace.params)
    require_current(present, workspace.params)
    changes = tuple(find_changes(present.values, document.values))
    if changes:
        write_text(workspace.params, document.text(present.head))
    return Initialised(None, changes, ())


def _replace(
    workspace: Workspace, document: Document, params: Path, *, replace: bool
) -> Initialised:
    """Write another params.yaml over the workspace's, if its values differ and `replace`."""
    present = read_document(workspace.params)
    if not replace:
        require_current(present, workspace.params)
    changes = tuple(find_changes(present.values, document.values))
    if not changes:
        return Initialised(None, (), ())
    if workspace.params.samefile(preset_path("standard")):
        raise ConfigError(f"{workspace.params} is the preset standard itself: take another folder")
    if not replace:
        raise ReplacementError(workspace.params, changes)
    backup = back_up(workspace.params)
    return Initialised(None, changes, (backup, *_write(workspace, document, params)))


def _write(workspace: Workspace, document: Document, params: Path) -> tuple[Path, ...]:
    """Write both files, params.yaml last, as it makes the folder a workspace."""
    backups = write_pipeline(workspace)
    head = (
        f"# Made from {_origin(params)} by stpa {package_version()}; edit freely. stpa/config/ "
        f"explains every key.\n{document.head}"
    )
    write_text(workspace.params, document.text(head))
    return backups


def _origin(params: Path) -> str:
    preset = preset_name(params)
    return params.name if preset is None else f"preset {preset}"


def _is_ours(pipeline: Path) -> bool:
    return pipeline.read_bytes() == PIPELINE.read_bytes()


def _require_all_sections(document: Document, params: Path, workspace: Workspace) -> None:
    """Raise ConfigError for a file that states some changes, and not of what."""
    sections = [name for name in Config.model_fields if name != "version"]
    missing = [name for name in sections if name not in document.root]
    if not missing:
        return
    base = workspace.params if workspace.params.exists() else preset_path("standard")
    raise ConfigError(
        f"{params} has no {', '.join(missing)}: a file that changes some keys of another begins "
        f"with a line that names it, such as `{EXTENDS}: {base.resolve()}`"
    )


def _require_room_for_workspace(root: Path, *, replace: bool) -> None:
    """Raise ConfigError for a folder that holds something else."""
    if root.exists() and not root.is_dir():
        raise ConfigError(f"{root} is a file: name a folder for the workspace")
    if video := _find_video(root):
        raise ConfigError(
            f"{root} holds videos ({video}), but a workspace is a folder of its own: "
            f"`stpa init my_project`, then `stpa ingest {quote(str(root))} -w my_project`"
        )
    pipeline = root / "dvc.yaml"
    if pipeline.exists() and not _is_ours(pipeline) and not replace:
        raise ConfigError(
            f"{pipeline} is not that of stpa: take another folder, or --replace it, which keeps "
            "a copy of the old file"
        )


def _find_video(root: Path) -> Path | None:
    """Return a video of a dataset in `root`; a repository may hold some among other things."""
    if (root / ".git").exists() or (root / ".dvc").exists():
        return None
    paths = (path.relative_to(root) for depth in _WHERE_VIDEOS_ARE for path in root.glob(depth))
    videos = (path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES)
    return next((path for path in videos if not any(map(is_hidden, path.parts))), None)
