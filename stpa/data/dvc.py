"""Run DVC's commands: DVC is a program here, whose Python interface is not public."""

import errno
import json
import logging
import os
import subprocess
import sys
from itertools import chain
from pathlib import Path

import psutil
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from stpa.errors import RemoteError, VersioningError
from stpa.safe_path import SAFE_PATH

logger = logging.getLogger(__name__)

LOCK_WAIT_SECONDS = 600.0
"""How long to wait for another DVC process in the same workspace."""
_REMOTE_COMMANDS = ("push", "fetch", "status", "list-url")
"""What asks the remote."""
_LOCK_MESSAGES = ("is busy", "Unable to acquire lock", "Unable to read RWLock-file")


class _LockedError(VersioningError):
    """Another process holds DVC's lock, or died with it."""


def run_dvc(root: Path, *arguments: str) -> str:
    """Run one DVC command in `root` and return its output; wait while another one holds it."""
    for attempt in Retrying(
        retry=retry_if_exception_type(_LockedError),
        wait=wait_fixed(1),
        stop=stop_after_delay(LOCK_WAIT_SECONDS),
        before_sleep=lambda _state: _release_stale_lock(root / ".dvc" / "tmp" / "rwlock"),
        reraise=True,
    ):
        with attempt:
            return _run(root, *arguments)
    raise AssertionError("the last attempt returns or raises")


def _run(root: Path, *arguments: str) -> str:
    process = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=root,
        env=os.environ | SAFE_PATH | {"DVC_NO_ANALYTICS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if process.returncode == 0:
        return process.stdout
    if any(message in process.stderr for message in _LOCK_MESSAGES):
        raise _LockedError(
            f"another DVC process is at work in {root}: wait until it is done, or stop it"
        )
    kind = RemoteError if arguments[0] in _REMOTE_COMMANDS else VersioningError
    raise kind(f"dvc {arguments[0]} failed: {_reason(process.stderr)}")


def _reason(stderr: str) -> str:
    """Pick the line that says why, from under DVC's invitations to its chat room."""
    lines = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if "ERROR: " in line]
    reason = lines[-1].removeprefix("unexpected error - ") if lines else "it does not say why"
    if os.strerror(errno.ENOSPC) in reason:
        return "no space is left on the disk: free some and run the same command again"
    return reason


def _release_stale_lock(path: Path) -> None:
    """Remove DVC's record of busy paths where no process in it can still be at work.

    DVC itself forgets processes that are gone, but not one whose number another process has
    now, as after the restart of a container, and it stops for good at a half-written record.
    """
    try:
        written = path.stat().st_mtime
        lock = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except ValueError:
        logger.warning("removed %s: DVC was killed while it wrote it", path)
        path.unlink(missing_ok=True)
        return
    holders = [*lock.get("write", {}).values(), *chain(*lock.get("read", {}).values())]
    if not any(_at_work(holder["pid"], written) for holder in holders):
        logger.warning("removed %s: the processes it names are gone", path)
        path.unlink(missing_ok=True)


def _at_work(pid: int, since: float) -> bool:
    """Tell whether process `pid` is alive and was so at the time `since`."""
    try:
        return psutil.Process(pid).create_time() <= since
    except psutil.NoSuchProcess:
        return False
