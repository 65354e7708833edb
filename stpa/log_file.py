"""A log file for each command that works in a workspace, for whoever asks later what happened."""

import logging
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stpa.errors import InterruptedTrainingError, first_line, one_line
from stpa.redaction import redact
from stpa.terminal import ON_TERMINAL
from stpa.version import package_version

MAX_FILES = 20
"""Number of log files in a workspace; the oldest are removed."""

logger = logging.getLogger(__name__)


@contextmanager
def logging_to_file(folder: Path, command: str) -> Iterator[None]:
    """Write what is logged within the block, other libraries' warnings too, to a file in `folder`.

    An error that leaves the block is logged with its traceback, and is given the file as a note.
    A file that cannot be written, as on a full disk, does not end the block.
    """
    try:
        handler = _open(folder, command)
    except OSError as error:
        logger.warning("there will be no log file: %s", one_line(error))
        yield
        return
    logging.getLogger().addHandler(handler)
    line = shlex.join(["stpa", *sys.argv[1:]])
    logger.info("%s, in %s", line, Path.cwd(), extra=ON_TERMINAL)
    versions = package_version(), platform.python_version(), os.getpid()
    logger.info("stpa %s, Python %s, process %d", *versions, extra=ON_TERMINAL)
    started = time.monotonic()
    try:
        yield
    except (InterruptedTrainingError, KeyboardInterrupt) as error:
        logger.warning("%s", first_line(error), extra=ON_TERMINAL)
        raise
    except Exception as error:
        logger.error("%s", one_line(error), extra=ON_TERMINAL, exc_info=True)
        error.add_note(f"log: {handler.baseFilename}")
        raise
    finally:
        logger.info("ended after %.0f s", time.monotonic() - started, extra=ON_TERMINAL)
        logging.getLogger().removeHandler(handler)
        handler.close()


def _open(folder: Path, command: str) -> logging.FileHandler:
    """Make a new file, and remove the oldest ones beyond `MAX_FILES`."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.glob("*.log"))[: -(MAX_FILES - 1)]:
        with suppress(OSError):
            old.unlink()
    handler = _LogFile(
        folder / f"{time.strftime('%Y-%m-%d-%H%M%S')}-{command}.log",
        encoding="utf-8",
        errors="backslashreplace",  # names of files may be no text
    )
    handler.setFormatter(_Redacted("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return handler


class _LogFile(logging.FileHandler):
    """A file without which the work goes on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Do nothing: logging would print a traceback for each line on a full disk."""

    def close(self) -> None:
        with suppress(OSError):
            super().close()


class _Redacted(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
