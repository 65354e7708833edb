"""Where workers read the files of a stream."""

from pathlib import Path

from stpa.config import Config, Stream
from stpa.data import versioning
from stpa.data.storage import Folder, RemoteFiles, Storage
from stpa.workspace import Workspace


def stream_storage(workspace: Workspace, config: Config, stream: Stream) -> Storage:
    """Return the videos or the stored optical flow of today's version, as `compute` says."""
    folder = workspace.videos if stream is Stream.RGB else workspace.optical_flow
    return _storage(workspace, config, folder)


def feature_storage(workspace: Workspace, config: Config, stream: Stream) -> Storage:
    """Return a stream's stored features, as `compute` says."""
    return _storage(workspace, config, workspace.features, stream.value)


def _storage(
    workspace: Workspace, config: Config, tracked: Path, subfolder: str | None = None
) -> Storage:
    """Return the files of a `tracked` folder, or of a folder in it alone."""
    if config.compute.read_from == "workspace":
        return Folder((tracked / (subfolder or "")).resolve())
    remote = config.data.remote
    prefix = f"{subfolder}/" if subfolder else ""
    objects = versioning.list_objects(workspace.root, tracked)
    return RemoteFiles(
        remote=remote if "://" in remote else str((workspace.root / remote).resolve()),
        objects={
            name.removeprefix(prefix): md5
            for name, md5 in objects.items()
            if name.startswith(prefix)
        },
        cache=Path(config.compute.cache_folder),
        cache_bytes=int(config.compute.cache_gb * 1e9),
    )
