"""Copies of remote files on this machine's disk, the longest unused of which make room."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from stpa.files import atomic_path, is_temporary

SLACK = 1 / 16
"""Share of the limit that a process adds before it counts again what all of them hold."""
LONGEST_FETCH_SECONDS = 3600.0
"""What a fetch began longer ago than this, a killed one left behind."""


class FileCache:
    """Files by key, shared by any number of processes without a lock.

    What one process deletes another may have open: it reads on. Each makes room for what it
    adds, so all together pass the limit by `SLACK` of it a process at most.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Keep files in `folder`, which need not be there yet, and holds nothing else."""
        self._folder = folder
        self._max_bytes = max_bytes
        self._uncounted = max_bytes  # so that the first file counts what others left

    def open(self, key: str, fetch: Callable[[Path], None]) -> BinaryIO:
        """Open the file of `key`, a plain file name, after `fetch` has written it if need be."""
        path = self._folder / key
        while True:
            with suppress(FileNotFoundError):
                file = path.open("rb")
                os.utime(file.fileno())
                return file
            with atomic_path(path) as temporary:
                fetch(temporary)
                self._make_room(temporary.stat().st_size)

    def _make_room(self, num_bytes: int) -> None:
        self._uncounted += num_bytes
        if self._uncounted <= SLACK * self._max_bytes:
            return
        self._uncounted = num_bytes
        held = sorted(_held(self._folder))
        excess = num_bytes + sum(size for _, size, _ in held) - (1 - SLACK) * self._max_bytes
        for _, size, path in held:
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            excess -= size


def _held(folder: Path) -> list[tuple[float, int, Path]]:
    """Return when each file was last used, its bytes and its path; not of fetches under way."""
    files = []
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            status = path.stat()
            under_way = time.time() - status.st_mtime < LONGEST_FETCH_SECONDS
            if not (is_temporary(path) and under_way):
                files.append((status.st_mtime, status.st_size, path))
    return files
