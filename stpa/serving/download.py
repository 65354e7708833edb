"""Fetch a video from http(s):// or s3:// into a file of this machine."""

from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from stpa.data.deadline import on_progress
from stpa.errors import DataError, first_line
from stpa.redaction import redact

LARGEST_GIB = 8.0
"""Of a download: an address may never stop sending."""
SILENCE_SECONDS = 15.0
"""After which a server is given up."""
_BLOCK_BYTES = 2**20


def download(address: str, folder: Path, largest_gib: float = LARGEST_GIB) -> Path:
    """Fetch the video at `address` into `folder`, and return its path there.

    fsspec finds credentials by itself: s3fs, for instance, in the environment and in ~/.aws.
    Raises DataError where it does not come whole, or is larger than `largest_gib`.
    """
    path = folder / f"video{PurePosixPath(urlsplit(address).path).suffix}"
    try:
        num_bytes = _fetch(address, path, int(largest_gib * 2**30))
    except Exception as error:  # each file system has exceptions of its own
        # The cause says more: fsspec's FileNotFoundError holds the address alone.
        reason = redact(first_line(error.__cause__ or error))
        raise DataError(
            f"cannot be fetched ({reason}): check the address and the network"
        ) from None
    if num_bytes is None:
        raise DataError(f"is larger than {largest_gib:g} GiB: fetch it by hand, and name the file")
    return path


def _fetch(address: str, path: Path, most_bytes: int) -> int | None:
    """Return how many bytes came; None if they are more than `most_bytes`."""
    import fsspec

    num_bytes = 0
    filesystem, name = fsspec.url_to_fs(address, **_patience(address))
    with filesystem.open(name, "rb") as remote, path.open("wb") as local:
        while block := remote.read(_BLOCK_BYTES):
            num_bytes += len(block)
            if num_bytes > most_bytes:
                return None
            local.write(block)
            on_progress()
    return num_bytes


def _patience(address: str) -> dict[str, Any]:
    """Return the options that make a file system give up a silent server."""
    if address.startswith("s3://"):
        seconds = {"connect_timeout": SILENCE_SECONDS, "read_timeout": SILENCE_SECONDS}
        return {"config_kwargs": {**seconds, "retries": {"max_attempts": 2}}}
    from aiohttp import ClientTimeout

    timeout = ClientTimeout(total=None, connect=SILENCE_SECONDS, sock_read=SILENCE_SECONDS)
    # block_size 0: from the first byte to the last, as servers without ranges need it.
    return {"client_kwargs": {"timeout": timeout}, "block_size": 0}
