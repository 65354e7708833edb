"""Which data: DVC keeps every version of videos, manifest and optical flow, and names them.

Names are content hashes, so the same content has the same version on every machine.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from configparser import Error as ConfigParserError
from configparser import RawConfigParser
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from stpa.data.dvc import run_dvc
from stpa.errors import RemoteError, VersioningError, first_line
from stpa.files import TEMPORARY_PREFIX, atomic_path, digest_value, write_text

EXTRACT = "extract"
"""The stage of dvc.yaml that makes optical flow."""
LOCK_FILE = "dvc.lock"
REMOTE = "storage"


@dataclass(frozen=True)
class DataVersion:
    """DVC's hashes of all that a training reads."""

    videos: str
    manifest: str
    optical_flow: str

    @property
    def id(self) -> str:
        """Name the version in 12 hexadecimal digits."""
        return digest_value(astuple(self))


def initialise(root: Path, remote: str) -> None:
    """Make `root` a DVC repository whose default remote is `remote`, where it is not yet so.

    `remote` is a folder, relative to `root` or absolute, or an address such as s3://bucket/path.
    Credentials and other settings in .dvc/config.local stay the user's own.
    """
    # Below the top of a Git repository, or in an ignored folder of one, DVC must not ask Git.
    in_git = (root / ".git").exists()
    if not (root / ".dvc").is_dir():
        run_dvc(root, "init", *([] if in_git else ["--no-scm"]))
    local = "://" not in remote and not Path(remote).is_absolute()
    settings = {
        "core": {
            "analytics": "false",
            "autostage": "false",
            "no_scm": str(not in_git).lower(),
            "remote": REMOTE,
        },
        # One copy of each video: DVC makes it read-only, and files are only ever replaced whole.
        # With reflinks first, file systems without them get full copies.
        "cache": {"type": '"hardlink,copy"'},
        f"'remote \"{REMOTE}\"'": {"url": str(PurePosixPath("..", remote)) if local else remote},
    }
    _write_settings(root / ".dvc" / "config", settings)


def track(root: Path, paths: Sequence[Path]) -> None:
    """Record the present content of files and folders below `root` in their .dvc files.

    Raises VersioningError while a restoration is half done.
    """
    if _restoration(root).exists():
        raise VersioningError(
            f"a restoration into {root} was cut off: run `stpa data restore` once more"
        )
    for path in paths:
        _remove_half_written(_pointer(path))
    run_dvc(root, "add", *(str(path.relative_to(root)) for path in paths))


def commit_extraction(root: Path) -> None:
    """Record the present optical flow, and what it was made from, in dvc.lock."""
    if EXTRACT not in _read_stages(root):
        raise VersioningError(
            f"{root / 'dvc.yaml'} has no stage {EXTRACT}: run `stpa init {root} --upgrade`"
        )
    _remove_half_written(root / LOCK_FILE)
    run_dvc(root, "commit", "--force", EXTRACT)


def push(root: Path) -> None:
    """Bring all of the present version to the remote, and see that it is there.

    DVC's own push calls it a success when objects to push are gone from the cache.
    """
    if not _absent_from_remote(root):
        return
    run_dvc(root, "push")
    if absent := _absent_from_remote(root):
        raise VersioningError(
            f"{len(absent)} of the tracked paths in {root} did not reach the DVC remote "
            f"({', '.join(sorted(absent)[:3])}): run `dvc pull` or ingest and extract again"
        )


def check_remote(root: Path, remote: str) -> str:
    """Try `remote` as `initialise` would set it up in `root`, without writing to either.

    Returns what was found; raises RemoteError.
    """
    if "://" not in remote:
        folder = (root / remote).resolve()
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise RemoteError(
                f"data.remote {folder} cannot be written: change it, or whose {nearest} is"
            )
        return str(folder)
    if _answers(root, remote):
        return f"{remote} answers"
    # Who may use a part of a bucket alone cannot list the whole, but then it is there.
    bucket = "/".join(remote.split("/")[:3])
    if not _answers(root, bucket, refusal=True):
        raise RemoteError(
            f"data.remote {remote}: there is no {bucket}: make it, or change data.remote"
        )
    return f"{remote} answers; nothing is stored there yet"


def restore(root: Path, remote: str, version: DataVersion) -> None:
    """Make `root` hold the videos, manifest and optical flow of `version`.

    What it has not comes from `remote`; where that fails, RemoteError, `root` stays as it is.
    Raises VersioningError where videos that no version holds would be lost; optical flow may be,
    since it can be made again. Killed and called again, it goes on.
    """
    initialise(root, remote)
    under_way = _restoration(root)
    if not under_way.exists():
        _refuse_to_lose_videos(root)
    _fetch(root, remote, version)
    write_text(under_way, version.id)
    _write_pointer(_pointer(root / "data" / "videos"), f"{version.videos}.dir")
    _write_pointer(_pointer(root / "data" / "manifest.csv"), version.manifest)
    _write_lock(root, version)
    _pointer(root / "data" / "features").unlink(missing_ok=True)  # others: made again when needed
    run_dvc(root, "checkout", "--force")
    commit_extraction(root)
    under_way.unlink()


def _fetch(root: Path, remote: str, version: DataVersion) -> None:
    """Bring a version into the cache of `root`, and see that it is there."""
    hashes = {
        "videos": f"{version.videos}.dir",
        "manifest.csv": version.manifest,
        "optical_flow": f"{version.optical_flow}.dir",
    }
    (root / "data").mkdir(exist_ok=True)
    # Pointers in a folder of their own: those of `root` change once all is here.
    with tempfile.TemporaryDirectory(dir=root / "data", prefix=TEMPORARY_PREFIX) as temporary:
        pointers = [_pointer(Path(temporary) / name) for name in hashes]
        for pointer, content in zip(pointers, hashes.values(), strict=True):
            _write_pointer(pointer, content)
        targets = [str(pointer.relative_to(root)) for pointer in pointers]
        try:
            run_dvc(root, "fetch", *targets)
            absent = _compare_with_remote(root, ("deleted", "missing"), *targets)
        except RemoteError as error:
            raise RemoteError(f"{remote} does not give the version: {error}") from error
        if absent:  # DVC's own fetch calls it a success
            names = ", ".join(sorted(PurePosixPath(path).name for path in absent))
            raise RemoteError(f"{remote} does not have all of the version: {names}")


def _write_pointer(pointer: Path, content: str) -> None:
    out = {"md5": content, "hash": "md5", "path": pointer.stem}
    write_text(pointer, yaml.safe_dump({"outs": [out]}))


def _write_lock(root: Path, version: DataVersion) -> None:
    """Name the version's optical flow in dvc.lock, for a checkout."""
    out = {"path": "data/optical_flow", "hash": "md5", "md5": f"{version.optical_flow}.dir"}
    stage = {"cmd": _read_stages(root)[EXTRACT]["cmd"], "outs": [out]}
    write_text(root / LOCK_FILE, yaml.safe_dump({"schema": "2.0", "stages": {EXTRACT: stage}}))


def _read_stages(root: Path) -> dict[str, Any]:
    tree = _read_tree(root / "dvc.yaml")
    if tree is None:
        raise VersioningError(f"{root} has no dvc.yaml: run `stpa init {root} --upgrade`")
    return tree["stages"]


def _restoration(root: Path) -> Path:
    """Return the file that is there while a version takes the place of another."""
    return root / ".dvc" / "tmp" / "restoring"


def tracked_hash(path: Path) -> str | None:
    """Return the hash by which DVC tracks a file or folder; None where it does not yet."""
    tree = _read_tree(_pointer(path))
    return None if tree is None else _hash(tree["outs"][0])


def recorded_state(root: Path) -> str:
    """Return a digest of DVC's records of all data, which differs where any of them has changed."""
    records = [*sorted((root / "data").glob("*.dvc")), root / LOCK_FILE]
    return digest_value([path.read_text("utf-8") if path.is_file() else None for path in records])


def list_objects(root: Path, folder: Path) -> dict[str, str]:
    """Return the MD5 of each file below a tracked `folder`, by relative path, as last recorded."""
    is_flow = folder.name == "optical_flow"
    content = read_version(root).optical_flow if is_flow else tracked_hash(folder)
    if content is None:
        command = "features" if folder.name == "features" else "ingest"
        raise VersioningError(f"{folder} is not versioned: run `stpa {command}` first")
    cache = Path(run_dvc(root, "cache", "dir").strip())
    listing = cache / "files" / "md5" / content[:2] / f"{content[2:]}.dir"
    try:
        entries = json.loads(listing.read_text(encoding="utf-8"))
        objects = {entry["relpath"]: entry["md5"] for entry in entries}
        if not all(re.fullmatch("[0-9a-f]{32}", md5) for md5 in objects.values()):
            raise ValueError("an MD5 is none")
        return objects
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VersioningError(
            f"DVC's list of {folder}, {listing}, cannot be read ({first_line(error)}): "
            "run `dvc fetch`"
        ) from error


def read_version(root: Path) -> DataVersion:
    """Read the version that `root` holds; raise VersioningError before the first extraction."""
    data = root / "data"
    videos, manifest = tracked_hash(data / "videos"), tracked_hash(data / "manifest.csv")
    if videos is None or manifest is None:
        raise VersioningError(f"{root} has no versioned dataset: run `stpa ingest` first")
    stages = (_read_tree(root / LOCK_FILE) or {}).get("stages", {})
    if EXTRACT not in stages:
        raise VersioningError(f"{root} has no versioned optical flow: run `stpa extract` first")
    made_from = {_hash(dependency) for dependency in stages[EXTRACT]["deps"]}
    if made_from != {videos, manifest}:
        raise VersioningError(
            f"the optical flow in {root} is not that of its dataset: run `stpa extract` first"
        )
    return DataVersion(videos, manifest, _hash(stages[EXTRACT]["outs"][0]))


def _refuse_to_lose_videos(root: Path) -> None:
    """Raise VersioningError where the tracked videos or their manifest have changed since."""
    for path in (root / "data" / "videos", root / "data" / "manifest.csv"):
        present = path.is_file() or (path.is_dir() and any(path.iterdir()))
        tracked = _pointer(path).exists()
        if present and not (
            tracked and run_dvc(root, "status", "--json", str(_pointer(path))).strip() == "{}"
        ):
            raise VersioningError(
                f"{path} holds what no data version has: run `stpa ingest`, or move it away, first"
            )


@contextmanager
def _trial(root: Path, remote: str) -> Iterator[Path]:
    """Make a DVC repository for a while, with `remote` and the settings of `root`'s user."""
    with tempfile.TemporaryDirectory() as temporary:
        trial = Path(temporary)
        initialise(trial, remote)
        for own_settings in (root / ".dvc" / "config", root / ".dvc" / "config.local"):
            if own_settings.exists():
                shutil.copy(own_settings, trial / ".dvc")
        initialise(trial, remote)
        yield trial


def _answers(root: Path, remote: str, *, refusal: bool = False) -> bool:
    """Tell whether there is something at `remote`; raise RemoteError where nothing can be said.

    With `refusal`, it is there where its listing is forbidden.
    """
    with _trial(root, remote) as trial:
        try:
            run_dvc(trial, "list-url", f"remote://{REMOTE}")
        except RemoteError as error:
            if "does not exist" in str(error):
                return False
            if refusal and "Forbidden" in str(error):
                return True
            raise RemoteError(f"data.remote {remote}: {error}") from error
    return True


def _pointer(path: Path) -> Path:
    return path.with_name(f"{path.name}.dvc")


def _read_tree(path: Path) -> dict[str, Any] | None:
    """Read one of DVC's YAML files; None where it is absent or half-written."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeDecodeError, yaml.YAMLError):
        return None
    return tree if isinstance(tree, dict) else None


def _remove_half_written(path: Path) -> None:
    """Remove what DVC, killed or out of space, left of a file that the next command remakes."""
    if _read_tree(path) is None:
        path.unlink(missing_ok=True)


def _hash(entry: Mapping[str, Any]) -> str:
    return entry["md5"].removesuffix(".dir")


def _write_settings(path: Path, settings: dict[str, dict[str, str]]) -> None:
    parser = RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except (ConfigParserError, UnicodeDecodeError) as error:
        raise VersioningError(f"{path} is not a DVC configuration: correct or remove it") from error
    before = {name: dict(section) for name, section in parser.items()}
    parser.read_dict(settings)
    if {name: dict(section) for name, section in parser.items()} != before:
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
            parser.write(stream)


def _absent_from_remote(root: Path) -> list[str]:
    """Return the tracked paths whose present content the remote lacks."""
    return _compare_with_remote(root, ("new", "missing"))


def _compare_with_remote(root: Path, wanted: Sequence[str], *targets: str) -> list[str]:
    """Return the tracked paths, of `targets` or all, whose content is in a `wanted` state.

    "new" is in the cache alone, "deleted" in the remote alone, "missing" in neither.
    """
    states = json.loads(run_dvc(root, "status", "--cloud", "--json", *targets))
    return [path for path, state in states.items() if state in wanted]
