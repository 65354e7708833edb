"""The files of tracked runs, kept where the store says at that moment."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from stpa.registry.tracking.connection import Connection, reporting

if TYPE_CHECKING:
    from mlflow.store.artifact.artifact_repo import ArtifactRepository


class Artifacts(Connection):
    """Reads and writes the files of runs."""

    @reporting
    def log_files(self, run_id: str, path: Path, artifact_path: str | None = None) -> None:
        """Store a file, or a folder's content, in the run's folder `artifact_path`."""
        if path.is_dir():
            self._files_of(run_id).log_artifacts(str(path), artifact_path)
        else:
            self._files_of(run_id).log_artifact(str(path), artifact_path)

    @reporting
    def log_text(self, run_id: str, text: str, artifact_file: str) -> None:
        """Store `text` as the run's file `artifact_file`, in place of an earlier one."""
        folder, _, name = artifact_file.rpartition("/")
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / name
            path.write_text(text, encoding="utf-8")
            self.log_files(run_id, path, folder or None)

    @reporting
    def read_text(self, run_id: str, artifact_file: str) -> str | None:
        """Return the text of a run's file, or None where it has none of that name."""
        files, folder = self._files_of(run_id), artifact_file.rpartition("/")[0]
        if artifact_file not in {file.path for file in files.list_artifacts(folder or None)}:
            return None
        with tempfile.TemporaryDirectory() as temporary:
            path = files.download_artifacts(artifact_file, temporary)
            return Path(path).read_text(encoding="utf-8")

    @reporting
    def fetch_files(self, run_id: str, artifact_path: str, folder: Path) -> None:
        """Copy a file or folder of the run into `folder`."""
        self._files_of(run_id).download_artifacts(artifact_path, str(folder))

    def _files_of(self, run_id: str) -> "ArtifactRepository":
        """Return the run's files.

        MLflow's client would keep where they are by the run's id alone, for the whole process; but
        the runs of a copied workspace have the ids of the original's.
        """
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        address = self.client.get_run(run_id).info.artifact_uri
        assert address is not None, "every store sets one"
        return get_artifact_repository(address, tracking_uri=self.uri)
