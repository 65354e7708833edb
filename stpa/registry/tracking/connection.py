"""A connection to MLflow that gives up early on silence and says what failed in one line."""

import fcntl
import functools
import logging
import os
import re
import sqlite3
import textwrap
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar
from urllib.parse import unquote

from stpa.errors import RegistryError, RegistryUnavailableError
from stpa.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
_HTTP = ("http://", "https://")

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
ANSWER_SECONDS = 5
_MESSAGE_LENGTH = 300

Caller = TypeVar("Caller", bound="Connection")
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def default_database(workspace: Workspace) -> Path:
    """Return the file of the workspace's own store, which needs no server."""
    return (workspace.mlflow / "mlflow.db").resolve()


def default_uri(workspace: Workspace) -> str:
    """Return the address of the workspace's own store. Raises RegistryError."""
    database = default_database(workspace)
    if "?" in str(database) or unquote(str(database)) != str(database):
        raise RegistryError(
            f"MLflow would read the ? or the % in {database} as part of an address: "
            "rename that folder"
        )
    return f"{SQLITE}{database}"


def artifacts_address(database: Path) -> str:
    """Return where the files of an SQLite store's runs are kept: next to the database."""
    return (database.resolve().parent / "artifacts").as_uri()


def reporting(
    method: Callable[Concatenate[Caller, Arguments], Result],
) -> Callable[Concatenate[Caller, Arguments], Result]:
    """Turn whatever fails in MLflow or below it into one line that says where."""

    @functools.wraps(method)
    def reported(self: Caller, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        from mlflow.exceptions import MlflowException

        try:
            return method(self, *args, **kwargs)
        except (MlflowException, OSError, sqlite3.Error) as error:
            one_line = textwrap.shorten(str(error), _MESSAGE_LENGTH, placeholder="...")
            kind = RegistryUnavailableError if _is_of_the_server(error) else RegistryError
            raise kind(f"MLflow at {self.place}: {one_line}") from error

    return reported


def _is_of_the_server(error: Exception) -> bool:
    """Tell a server's own faults, and silence, from its answers to a wrong request."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return error.get_http_status_code() >= HTTPStatus.INTERNAL_SERVER_ERROR
    return isinstance(error, ConnectionError | TimeoutError)


@contextmanager
def unheard_warnings() -> Iterator[None]:
    """Ignore what MLflow's modules warn of when they are first imported: its own code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Connection:
    """An MLflow client; every public method of its subclasses fails with a `RegistryError`."""

    def __init__(self, uri: str) -> None:
        """Connect, and make an SQLite store that is not there yet.

        A server that does not answer within seconds is an error here; once it has answered,
        MLflow's own patient retries carry a long training over its restarts.
        """
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        self.uri = uri
        with unheard_warnings():
            self.client = self._connect()

    @property
    def place(self) -> str:
        """The address, without a password, for messages."""
        return re.sub(r"//[^/@]*@", "//", self.uri)

    @property
    def server(self) -> str | None:
        """The address of the server's pages, without a password; None for a database."""
        return self.place.rstrip("/") if self.uri.startswith(_HTTP) else None

    @reporting
    def _connect(self) -> "MlflowClient":
        from mlflow import MlflowClient

        # Faults of the database come as errors; MLflow would also print their tracebacks.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        if self.uri.startswith(SQLITE):
            return self._open_sqlite(Path(self.uri.removeprefix(SQLITE)))
        if self.uri.startswith(_HTTP):
            self._require_answer()
        return MlflowClient(self.uri, self.uri)

    def _open_sqlite(self, database: Path) -> "MlflowClient":
        from mlflow import MlflowClient

        database.parent.mkdir(parents=True, exist_ok=True)
        # MLflow does not guard its making of the tables against other processes.
        with database.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            connection = sqlite3.connect(database)
            try:
                # Readers do not block the writer; twelve threads in four processes wrote
                # in half the time. Who must wait, waits: MLflow sets a busy timeout.
                connection.execute("PRAGMA journal_mode=WAL")
            finally:
                connection.close()
            return MlflowClient(self.uri, self.uri)

    def _require_answer(self) -> None:
        """Ask once: MLflow's own calls repeat for minutes before they give up."""
        from mlflow.exceptions import MlflowException
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        try:
            http_request(
                get_default_host_creds(self.uri),
                "/health",
                "GET",
                max_retries=0,
                timeout=ANSWER_SECONDS,
                raise_on_status=False,
            )
        except (MlflowException, OSError, ValueError) as error:
            raise RegistryUnavailableError(
                f"no MLflow server answers at {self.place} within {ANSWER_SECONDS} s: "
                "start it or change tracking.uri"
            ) from error
