"""Where workers read files: in a folder that they share, or in a remote that holds a version.

A remote's files are fetched when they are first read, whole, since most are read again in the
next epoch, and kept in a cache of bounded size on each machine.
"""

import errno
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol, runtime_checkable

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from stpa.data.file_cache import FileCache
from stpa.errors import DataError, RemoteError, first_line
from stpa.files import digest_file

FETCH_ATTEMPTS = 4
LONGEST_WAIT_SECONDS = 8.0


@runtime_checkable
class Storage(Protocol):
    """Files by name; a name is relative, with slashes."""

    def local(self, name: str) -> AbstractContextManager[Path]:
        """Give a path at which the file can be read on this machine while the block runs."""
        ...


@dataclass(frozen=True)
class Folder:
    """Files where they lie."""

    root: Path

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """Give the file's own path, whether it is there or not."""
        yield self.root / name


@dataclass(frozen=True)
class RemoteFiles:
    """Files of one data version, in a DVC remote: objects named by the MD5 of their content.

    fsspec finds addresses and credentials by itself, in each process: s3fs, for instance, in
    the environment and in ~/.aws.
    """

    remote: str
    """An fsspec URL or an absolute path."""
    objects: Mapping[str, str]
    """MD5 by file name."""
    cache: Path
    """The copies lie in its folder "objects"."""
    cache_bytes: int

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """Give a path of the cached copy, which stays even if the cache drops it meanwhile.

        Raises DataError for a file that the version does not have or the remote has lost, and
        RemoteError, after some attempts, where it cannot be fetched.
        """
        if name not in self.objects:
            raise DataError(
                f"{name} is not among the versioned files at {self.remote}: run what makes it, "
                "`stpa ingest`, `stpa extract` or `stpa features`"
            )
        md5 = self.objects[name]
        url = f"{self.remote}/files/md5/{md5[:2]}/{md5[2:]}"
        cache = _cache(self.cache, self.cache_bytes)
        with cache.open(md5, partial(_fetch, name, url, md5)) as copy:
            path = Path(f"/dev/fd/{copy.fileno()}")
            try:
                yield path
            except DataError as error:
                raise DataError(str(error).replace(str(path), f"{name} ({url})")) from error


@lru_cache
def _cache(folder: Path, max_bytes: int) -> FileCache:
    """Give each process one cache, which knows what it has added."""
    return FileCache(folder.expanduser() / "objects", max_bytes)


def _fetch(name: str, url: str, md5: str, destination: Path) -> None:
    """Fetch an object and see that it is whole."""
    try:
        for attempt in Retrying(
            retry=retry_if_exception(_may_pass),
            wait=wait_exponential(max=LONGEST_WAIT_SECONDS),
            stop=stop_after_attempt(FETCH_ATTEMPTS),
            reraise=True,
        ):
            with attempt:
                _fetch_once(url, md5, destination)
    except FileNotFoundError as error:
        raise DataError(f"{name} is gone from the remote ({url}): run `dvc push`") from error
    except Exception as error:  # each file system has exceptions of its own
        if _is_full(error):
            raise DataError(
                f"no space is left for {name} in the cache: make some, or lower compute.cache_gb"
            ) from error
        raise RemoteError(
            f"{name} cannot be fetched from {url} ({first_line(error)}): "
            "check the remote, the credentials and the network"
        ) from error


def _may_pass(error: BaseException) -> bool:
    lasting = isinstance(error, FileNotFoundError | PermissionError) or _is_full(error)
    return isinstance(error, Exception) and not lasting


def _is_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno == errno.ENOSPC


def _fetch_once(url: str, md5: str, destination: Path) -> None:
    import fsspec

    filesystem, path = fsspec.url_to_fs(url)
    filesystem.get_file(path, str(destination))
    if digest_file(destination, "md5") != md5:
        raise OSError(f"{destination.stat().st_size} bytes came, which are not the object's")
