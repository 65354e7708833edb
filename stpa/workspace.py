"""A workspace: the folder that holds one pipeline's parameters, data, runs and models."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from stpa.errors import BusyError, DataError
from stpa.files import remove_temporaries

_HELD: ContextVar[frozenset[Path]] = ContextVar("held", default=frozenset())
"""The workspaces that are this process's for the length of a block, and what runs within it."""

RECORDS_MB = 50.0
"""What the new databases of Prefect and MLflow take, and some."""


@contextmanager
def exclusive(workspace: "Workspace") -> Iterator[None]:
    """Keep every other process from changing the workspace; a kill lets go of it too.

    What killed ones left half-written is removed first. Raises BusyError at once where
    another one is at work. A block within a block changes nothing.
    """
    held, root = _HELD.get(), workspace.root.resolve()
    if root in held:
        yield
        return
    workspace.root.mkdir(parents=True, exist_ok=True)
    with (workspace.root / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(
                f"another process is at work in {root}: wait until it is done"
            ) from error
        for folder in workspace.changed_under_lock:
            remove_temporaries(folder)
        token = _HELD.set(held | {root})
        try:
            yield
        finally:
            _HELD.reset(token)


def require_room(workspace: "Workspace") -> None:
    """Raise DataError where not even the records fit: their servers would only time out."""
    free_mb = shutil.disk_usage(workspace.root).free / 1e6
    if free_mb < RECORDS_MB:
        raise DataError(
            f"no space is left for {workspace.root.resolve()}: {free_mb:.0f} MB are free, but "
            f"records alone need {RECORDS_MB:.0f}: free some and run the same command again"
        )


@dataclass(frozen=True)
class Workspace:
    """Names every path the pipeline reads or writes below `root`; creates nothing."""

    root: Path

    @property
    def name(self) -> str:
        """The folder's own name, for a person to tell workspaces apart."""
        return self.root.resolve().name

    @property
    def params(self) -> Path:
        """What a person edits; see `stpa.params`."""
        return self.root / "params.yaml"

    @property
    def videos(self) -> Path:
        """The ingested dataset, as its own archives lay it out; tracked by DVC."""
        return self.root / "data" / "videos"

    @property
    def manifest(self) -> Path:
        """One row a video (`stpa.data.manifest`); tracked by DVC."""
        return self.root / "data" / "manifest.csv"

    @property
    def optical_flow(self) -> Path:
        """One MJPEG file a video, beside its class as in `videos`; a DVC stage's output."""
        return self.root / "data" / "optical_flow"

    @property
    def features(self) -> Path:
        """One file per video and stream (`stpa.data.features`), below the streams' names; tracked
        by DVC. Only where heads learn from features."""
        return self.root / "data" / "features"

    @property
    def runs(self) -> Path:
        """Training runs, scores and comparisons, each named by the digest of its inputs."""
        return self.root / "runs"

    def found_params(self, stream: str, head: str) -> Path:
        """What the last search for a network found best: a params file that extends `params`."""
        return self.root / f"search-{stream}-{head}.yaml"

    @property
    def registered(self) -> Path:
        """Copies of registered models; predictions write there too, without the lock."""
        return self.root / "registered"

    @property
    def changed_under_lock(self) -> tuple[Path, ...]:
        """The folders that only the holder of `exclusive` writes to."""
        return self.root / "data", self.runs

    @property
    def mlflow(self) -> Path:
        """The default MLflow store: `mlflow.db` and `artifacts/`."""
        return self.root / "mlflow"

    @property
    def prefect(self) -> Path:
        """The default home of Prefect's own database."""
        return self.root / "prefect"

    @property
    def logs(self) -> Path:
        """A file for each of the last commands that worked here (`stpa.log_file`)."""
        return self.root / "logs"

    @property
    def report(self) -> Path:
        """The report of the last retraining, for a browser."""
        return self.root / "report" / "index.html"

    @property
    def summary(self) -> Path:
        """The figures of the last retraining, for a program."""
        return self.root / "summary.json"

    @property
    def localisation(self) -> Path:
        """What `stpa localise` measured last, for a program."""
        return self.root / "localisation.json"
