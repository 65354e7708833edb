"""Copy a dataset into the workspace so that a second run copies only what changed."""

import logging
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from stpa.config import DataConfig
from stpa.data.datasets.base import (
    VIDEO_SUFFIXES,
    ListedVideo,
    find_files,
    find_videos,
    is_hidden,
    name_some,
    require_folder,
)
from stpa.data.transcode import Transcodes
from stpa.errors import DataError
from stpa.files import atomic_path, is_temporary, remove_temporaries, write_text
from stpa.progress import ReportProgress

logger = logging.getLogger(__name__)

_UNFINISHED = ".unfinished"
"""Names the source of a copy that has begun and not ended; hidden, so no dataset's file."""


class MirroredDataset(ABC):
    """A `base.Dataset` that is copied from a folder as it lies there."""

    @abstractmethod
    def list_videos(self, root: Path, config: DataConfig) -> list[ListedVideo]:
        """List the videos below `root`; raise one DataError with all that is wrong with them."""

    @abstractmethod
    def find_files(self, root: Path) -> list[Path]:
        """Return the files below `root` that make the dataset."""

    def check_source(self, source: Path, config: DataConfig) -> None:
        """Raise one DataError with all that keeps a folder from being the dataset."""
        self.list_videos(source, config)

    def prepare(
        self,
        destination: Path,
        source: Path | None,
        config: DataConfig,
        progress: ReportProgress,
    ) -> None:
        """Copy the files of `source`, once they are known to make a dataset."""
        if source is not None and source.is_dir():
            self.check_source(source, config)
        transcodes = Transcodes(destination, config.transcode, config)
        mirror(source, destination, self.find_files, transcodes, progress)


def mirror(
    source: Path | None,
    destination: Path,
    find_wanted: Callable[[Path], Iterable[Path]],
    transcodes: Transcodes,
    progress: ReportProgress,
) -> None:
    """Make `destination` hold the files that `find_wanted` finds in `source`, and no others.

    A file is copied when its size or modification time differs from its copy's; a video may be
    transcoded instead, when its original or the settings have changed. Symbolic links in `source`
    are refused: they could bring any file of this machine into the data store.
    """
    if source is None or source.resolve() == destination.resolve():
        _check_kept(destination)
        transcodes.check_settings()
        return
    _check_source(source, destination)
    wanted = {path.relative_to(source).as_posix(): path for path in find_wanted(source)}
    changed, kept = {}, []
    for relative, path in wanted.items():
        is_current = transcodes.is_current if _is_transcoded(path, transcodes) else _is_unchanged
        if is_current(path, destination / relative):
            kept.append(relative)
        else:
            changed[relative] = path
    _check_space(destination, sum(path.stat().st_size for path in changed.values()))
    write_text(destination / _UNFINISHED, str(source))
    _remove_others(destination, wanted.keys())
    transcodes.keep_only(kept)
    for done, _ in enumerate(_bring(changed, destination, transcodes), start=1):
        progress(done, len(changed))
    remove_temporaries(destination)
    (destination / _UNFINISHED).unlink()


def _is_transcoded(original: Path, transcodes: Transcodes) -> bool:
    return transcodes.config is not None and original.suffix.lower() in VIDEO_SUFFIXES


def _bring(changed: Mapping[str, Path], destination: Path, transcodes: Transcodes) -> Iterator[str]:
    """Transcode or copy each file; yield its name once it is there.

    What cannot be transcoded is copied: a probe says why it cannot be used, or that it can.
    """
    videos = {name: path for name, path in changed.items() if _is_transcoded(path, transcodes)}
    for name, fault in transcodes.make(videos):
        if fault is not None:
            logger.warning("%r is not transcoded: %s", name, fault)
            _copy(changed[name], destination / name)
        yield name
    for name, path in changed.items():
        if name not in videos:
            _copy(path, destination / name)
            yield name


def _copy(original: Path, copy: Path) -> None:
    with atomic_path(copy) as temporary:
        shutil.copy2(original, temporary)


def _check_kept(destination: Path) -> None:
    if (destination / _UNFINISHED).is_file():
        source = (destination / _UNFINISHED).read_text(encoding="utf-8")
        raise DataError(f"copying {source} was cut off: run `stpa ingest {source}` again")
    if not find_videos(destination):
        raise DataError(
            f"no videos in {destination} and no source was given: name the folder that holds them, "
            "as in `stpa ingest FOLDER`, or set data.source"
        )


def _check_source(source: Path, destination: Path) -> None:
    require_folder(source)
    inner, outer = source.resolve(), destination.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise DataError(
            f"{source} and the workspace's {destination} lie within each other: "
            "take videos from a folder outside"
        )
    links, unreadable = [], []
    for path in source.rglob("*"):
        relative = path.relative_to(source)
        if any(is_hidden(part) for part in relative.parts):
            continue
        if path.is_symlink():
            links.append(str(relative))
        if not _is_unicode(str(relative)):
            unreadable.append(str(relative))
    if links:
        raise DataError(
            f"{source} has {len(links)} symbolic links, which are not followed "
            f"({name_some(links)}): put real files there, for instance with `cp -rL`"
        )
    if unreadable:
        raise DataError(
            f"{source} has {len(unreadable)} names that are not UTF-8 ({name_some(unreadable)}): "
            "rename these files"
        )


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_unchanged(original: Path, copy: Path) -> bool:
    if not copy.is_file():
        return False
    ours, theirs = copy.stat(), original.stat()
    return (ours.st_size, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)


def _check_space(destination: Path, needed: int) -> None:
    existing = next(path for path in (destination, *destination.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise DataError(
            f"copying the videos needs {needed / 1e9:.1f} GB, but {existing} has "
            f"{free / 1e9:.1f} GB free: make room or take another workspace"
        )


def _remove_others(destination: Path, wanted: Iterable[str]) -> None:
    """Remove what left the source and what a killed copy left behind, then empty folders."""
    keep = {destination / name for name in wanted}
    stale = [path for path in find_files(destination) if path not in keep]
    partial = [path for path in destination.rglob("*") if is_temporary(path)]
    for path in (*stale, *partial):
        path.unlink()
    for folder, _, _ in os.walk(destination, topdown=False):
        if folder != str(destination) and not os.listdir(folder):  # noqa: PTH208
            Path(folder).rmdir()
