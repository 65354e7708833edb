"""Weights files, local or at any fsspec URL, read without running what they hold."""

import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors.torch import load_file

from stpa.errors import ModelError, first_line
from stpa.files import atomic_path, digest_file, digest_value, is_temporary

MAX_FETCHED_BYTES = 8 * 2**30


def read_weights(location: str) -> dict[str, torch.Tensor]:
    """Return a state dict on the CPU from a path or an fsspec URL, such as `s3://bucket/key`.

    A `.safetensors` file, or one that `torch.load` accepts with `weights_only`; there the state
    dict may lie under "state_dict", and DataParallel's prefix is taken off. ModelError where the
    file is absent, damaged, larger than `MAX_FETCHED_BYTES` on its way, or needs unpickling.
    """
    path = _local_path(location)
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"weights file {location} is damaged or holds pickled objects, which could run "
            "code: if you trust it, save its state dict with safetensors.torch.save_file"
        ) from error
    except OSError as error:
        raise _unreadable(location, error) from error
    except Exception as error:  # Damaged bytes make the parsers raise nearly anything.
        raise ModelError(
            f"weights file {location} is damaged or no weights file ({first_line(error)}): "
            "give a .safetensors file, or a state dict saved by torch.save"
        ) from error
    return _state_dict(content, location)


def weights_digest(location: str) -> str:
    """Return the SHA-256 of a weights file's bytes; raise ModelError where it cannot be read.

    Every network's key asks for it, so a process reads a file that has not changed only once.
    """
    try:
        path = _local_path(location)
        state = path.stat()
        return _digest(path, state.st_ino, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise _unreadable(location, error) from error


@lru_cache(maxsize=8)
def _digest(path: Path, *_state: int) -> str:
    return digest_file(path)


def weights_size(location: str) -> int | None:
    """Return a weights file's size in bytes, where its file system knows it, and fetch nothing.

    Raises ModelError where the file is absent.
    """
    import fsspec

    with _explained(location):
        filesystem, remote = fsspec.url_to_fs(location)
        return filesystem.info(remote)["size"]


def _local_path(location: str) -> Path:
    if "://" not in location:
        return Path(location)
    with _explained(location):
        return _fetch(location)


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Raise what a file system raises as a ModelError."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # Each file system has exceptions of its own.
        raise ModelError(
            f"weights file {url} cannot be fetched ({first_line(error)}): "
            "check the address, the credentials and the network"
        ) from error


def _fetch(url: str) -> Path:
    """Return the local copy of `url`, beside torch.hub's, after fetching it if it has changed.

    A changed file takes the place of the copy of its older version.
    """
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    filesystem, remote = fsspec.url_to_fs(url)
    if isinstance(filesystem, LocalFileSystem):
        return Path(remote)
    size = filesystem.info(remote)["size"]
    if size is None or size > MAX_FETCHED_BYTES:
        raise ModelError(
            f"weights file {url} has {size} bytes, and at most {MAX_FETCHED_BYTES} are "
            "fetched: check the address, or copy the file here and give its path"
        )
    folder = Path(torch.hub.get_dir()) / "stpa" / digest_value(url)
    version = digest_value([str(filesystem.ukey(remote)), size])
    copy = folder / f"{version}{PurePosixPath(remote).suffix}"
    if not copy.exists():
        with atomic_path(copy) as temporary:
            filesystem.get_file(remote, str(temporary))
            fetched = temporary.stat().st_size
            if fetched != size:
                raise OSError(f"{fetched} of {size} bytes came")
        for older in folder.iterdir():
            if older != copy and not is_temporary(older):
                older.unlink(missing_ok=True)
    return copy


def _state_dict(content: Any, location: str) -> dict[str, torch.Tensor]:
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise ModelError(f"weights file {location} holds no state dict: save model.state_dict()")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise ModelError(
                f"weights file {location} holds a {type(value).__name__} at {name!r} where "
                "tensors were wanted: save model.state_dict() alone"
            )
    prefix = "module." if all(name.startswith("module.") for name in content) else ""
    return {name.removeprefix(prefix): value for name, value in content.items()}


def _unreadable(location: str, error: OSError) -> ModelError:
    return ModelError(f"weights file {location} cannot be read: {first_line(error)}")
