"""Files that workers make for a folder of the workspace, which they may not share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from stpa.config import Config
from stpa.files import atomic_path


@dataclass(frozen=True)
class WorkerFiles:
    """The files of one folder, as workers make them and as this process keeps them."""

    folder: Path
    is_shared: bool
    """Whether workers write into it; else they return what a file holds."""

    @classmethod
    def of(cls, folder: Path, config: Config) -> "WorkerFiles":
        """Return those of a folder of the workspace, as `compute.read_from` says."""
        return cls(folder.resolve(), config.compute.read_from == "workspace")

    def make(self, name: str, write: Callable[[Path], None]) -> bytes | None:
        """Run in a worker: have a file written in the folder, or return its content for `keep`."""
        if self.is_shared:
            write(self.folder / name)
            return None
        with TemporaryDirectory() as own:
            path = Path(own) / name
            write(path)
            return path.read_bytes()

    def keep(self, name: str, content: bytes | None) -> None:
        """Write what `make` returned, where the worker has not written the file itself."""
        if content is not None:
            with atomic_path(self.folder / name) as temporary:
                temporary.write_bytes(content)
