"""A server of another package, as a process of this machine that ends with this one."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import psutil

from stpa.errors import ComputeError
from stpa.redaction import redact
from stpa.safe_path import SAFE_PATH

HOST = "127.0.0.1"
MLFLOW_PORT, PREFECT_PORT = 5000, 4200
"""Where `stpa ui` serves pages unless it is told another port."""
START_SECONDS = 120.0
STOP_SECONDS = 10.0
ANSWER_SECONDS = 5.0
LOOKS_EVERY_SECONDS = 0.1
UVICORN = {"UVICORN_APP_DIR": sysconfig.get_path("purelib")}
"""Where uvicorn, which such servers start, looks for modules first: else in the current folder."""


class LocalProcess:
    """Runs `python -m` some module until it is stopped, or this process has ended."""

    def __init__(self, name: str, module: Sequence[str], *, log: Path, **environment: str) -> None:
        """Start `module`, given with its arguments; it writes to `log`.

        In a process group of its own: a terminal's Ctrl-C is for this process, which may have
        more to say to it.
        """
        self.name = name
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *module],
                env=os.environ | SAFE_PATH | UVICORN | environment,
                stdout=output,
                stderr=output,
                process_group=0,
                preexec_fn=_end_with_parent,
            )

    def require_running(self) -> None:
        """Raise ComputeError where it has ended by itself."""
        if self._process.poll() is not None:
            raise ComputeError(f"{self.name} ended by itself: see {self._log}")

    def interrupt_children(self, seconds: float) -> None:
        """Ask the processes that it started to leave, and wait for `seconds` at most."""
        with suppress(psutil.Error):
            children = psutil.Process(self._process.pid).children()
            for child in children:
                child.terminate()
            psutil.wait_procs(children, seconds)

    def stop(self) -> None:
        """End it, and wait until it has."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        """End it and what it started at once."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class LocalServer(LocalProcess):
    """One that listens."""

    def __init__(
        self, name: str, module: Sequence[str], *, port: int, log: Path, **environment: str
    ) -> None:
        """Start `module`, given with its arguments; it listens on `port`."""
        self.address = f"http://{HOST}:{port}"
        self._port = port
        listening = ("--host", HOST, "--port", str(port))
        super().__init__(name, [*module, *listening], log=log, **environment)

    def answers(self) -> bool:
        """Tell whether it takes connections; raise ComputeError where it has ended by itself."""
        with socket.socket() as probe:
            is_taken = probe.connect_ex((HOST, self._port)) == 0
        self.require_running()  # else another process is at the port, if any
        return is_taken

    def await_answer(self) -> None:
        """Return when it takes connections; raise ComputeError where it ends, or does not."""
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if time.monotonic() > deadline:
                raise ComputeError(
                    f"{self.name} is silent after {START_SECONDS:.0f} s: see {self._log}"
                )
            time.sleep(LOOKS_EVERY_SECONDS)


def require_prefect(address: str) -> None:
    """Raise ComputeError where no Prefect server answers at `address`, its API's."""
    try:
        with urlopen(f"{address.rstrip('/')}/health", timeout=ANSWER_SECONDS):
            return
    except (URLError, OSError, ValueError) as error:
        raise ComputeError(
            f"no Prefect server at {redact(address)} ({error}): start it, or correct "
            "PREFECT_API_URL"
        ) from error


def free_port() -> int:
    """Return a port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def _end_with_parent() -> None:
    """Have Linux end this process when its parent is killed; elsewhere, it would stay."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
