"""A labelled folder: one sub-folder a class, however deep the videos lie below it."""

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from stpa.config import DataConfig
from stpa.data.datasets.base import (
    VIDEO_SUFFIXES,
    ListedVideo,
    find_files,
    find_videos,
    is_hidden,
    name_some,
    raise_faults,
    split_faults,
)
from stpa.data.datasets.mirror import MirroredDataset
from stpa.files import digest_value

logger = logging.getLogger(__name__)


class FolderDataset(MirroredDataset):
    """Holds out one fold of the recordings, so that no recording is in both splits."""

    def check_source(self, source: Path, config: DataConfig) -> None:
        """Warn of files that are passed over, too."""
        _warn_of_others(source)
        super().check_source(source, config)

    def find_files(self, root: Path) -> list[Path]:
        """Return all videos."""
        return find_videos(root)

    def list_videos(self, root: Path, config: DataConfig) -> list[ListedVideo]:
        """List every video; raise one DataError with everything that is wrong with the folder."""
        paths = [path.relative_to(root) for path in find_videos(root)]
        labelled = [path for path in paths if len(path.parts) > 1]
        groups = {path: _group(path, config.group_pattern) for path in labelled}
        members = [(path.parts[0], groups[path]) for path in labelled]
        held_out = hold_out(members, config.num_folds, config.split)
        videos = [
            ListedVideo(
                path=path.as_posix(),
                labels=(path.parts[0],),
                group=groups[path],
                split="test" if groups[path] in held_out else "train",
            )
            for path in labelled
        ]
        raise_faults(root, _faults(root, paths, videos))
        return videos


def hold_out(members: Iterable[tuple[str, str]], num_folds: int, split: int) -> set[str]:
    """Return the groups to test on in split 1 to `num_folds`; `members` are (label, group).

    Groups are dealt in the order of their digests, each to the fold that has the fewest groups
    with its labels, so that every fold sees every class if there are groups enough. A class
    with fewer groups than folds lends one of them to a fold that would lack it.
    """
    labels_of: dict[str, set[str]] = defaultdict(set)
    for label, group in members:
        labels_of[group].add(label)
    shuffled = sorted(labels_of, key=digest_value)
    folds: list[list[str]] = [[] for _ in range(num_folds)]
    tallies = [Counter() for _ in range(num_folds)]
    for group in shuffled:
        labels = labels_of[group]
        number = min(
            range(num_folds),
            key=lambda n: (sum(tallies[n][label] for label in labels), len(folds[n])),
        )
        folds[number].append(group)
        tallies[number].update(labels)
    held_out = set(folds[split - 1])
    for label in sorted(set().union(*labels_of.values())):
        owners = [group for group in shuffled if label in labels_of[group]]
        if held_out.isdisjoint(owners) and len(owners) > 1:
            held_out.add(owners[(split - 1) % len(owners)])
    return held_out


def _group(path: Path, pattern: str) -> str:
    """Return the recording that a file name tells; a file that tells none is its own."""
    found = re.search(pattern, path.name)
    return found[1] if found else path.as_posix()


def _warn_of_others(source: Path) -> None:
    """Warn of files that are not taken for videos: by their number, endings and first names."""
    others = [path for path in find_files(source) if path.suffix.lower() not in VIDEO_SUFFIXES]
    if others:
        counts = Counter(path.suffix.lower() or "without one" for path in others).most_common()
        logger.warning(
            "%d files in %s are passed over, as their endings are not those of videos: %s (%s)",
            len(others),
            source,
            ", ".join(f"{number} {suffix}" for suffix, number in counts),
            name_some([path.relative_to(source).as_posix() for path in others]),
        )


def _faults(root: Path, paths: list[Path], videos: list[ListedVideo]) -> list[str]:
    if not paths:
        known = " ".join(VIDEO_SUFFIXES)
        return [f"no videos: expected one sub-folder a class, with files that end in {known}"]
    faults = []
    if stray := [path.name for path in paths if len(path.parts) == 1]:
        faults.append(f"videos outside any class folder ({name_some(stray)}): move them into one")
    classes = {path.name for path in root.iterdir() if path.is_dir() and not is_hidden(path.name)}
    if len(classes) == 1:
        faults.append(f"one class only ({name_some(sorted(classes))}): add a second sub-folder")
    uncovered = split_faults(videos, classes)
    if uncovered:
        uncovered[-1] += ": each class needs videos of at least two recordings (data.group_pattern)"
    return faults + uncovered
