"""Where workers read the files of a stream."""

from pathlib import Path

from stpa.config import Config, Stream
from stpa.data import versioning
from stpa.data.storage import Folder, RemoteFiles, Storage
from stpa.workspace import Workspace


def stream_storage(workspace: Workspace, config: Config, stream: Stream) -> Storage:
    """Return the videos or the stored optical flow of today's version, as `compute` says."""
    folder = workspace.videos if stream is Stream.RGB else workspace.optical_flow
    if config.compute.read_from == "workspace":
        return Folder(folder.resolve())
    remote = config.data.remote
    return RemoteFiles(
        remote=remote if "://" in remote else str((workspace.root / remote).resolve()),
        objects=versioning.list_objects(workspace.root, folder),
        cache=Path(config.compute.cache_folder),
        cache_bytes=int(config.compute.cache_gb * 1e9),
    )
