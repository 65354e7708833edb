"""Where workers read the files of a stream."""

from pathlib import Path

from stpa.config import Config
from stpa.data import versioning
from stpa.data.storage import Folder, RemoteFiles, Storage
from stpa.streams import Stream
from stpa.workspace import Workspace


def stream_storage(workspace: Workspace, config: Config, stream: Stream) -> Storage:
    """Return the files that a stream reads, of today's version, as `compute` says."""
    get_storage = flow_storage if stream.reads_optical_flow else video_storage
    return get_storage(workspace, config)


def video_storage(workspace: Workspace, config: Config) -> Storage:
    """Return the videos."""
    return _storage(workspace, config, workspace.videos)


def flow_storage(workspace: Workspace, config: Config) -> Storage:
    """Return the stored optical flow."""
    return _storage(workspace, config, workspace.optical_flow)


def feature_storage(workspace: Workspace, config: Config, stream: Stream) -> Storage:
    """Return a stream's stored features, as `compute` says."""
    return _storage(workspace, config, workspace.features, stream.name)


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
