"""What a dataset holds, class by class, and what about it will make training or judging hard."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stpa.config import DataConfig, TrainConfig
from stpa.data.datasets.base import name_some
from stpa.data.manifest import Manifest, Video
from stpa.data.step_sampler import StepSampler

MAX_CLASSES_SHOWN = 12
FEW_RECORDINGS = 4
"""Per class: with fewer in training, a network learns the recordings; with fewer in the test, a
single recording decides the result."""
UNBALANCED = 5.0
"""How many times as many clips as the smallest class the largest one may have."""


@dataclass(frozen=True)
class ClassCount:
    """How often a class occurs among the usable videos."""

    label: str
    num_clips: int
    num_recordings: int
    num_train_recordings: int


def count_classes(manifest: Manifest) -> list[ClassCount]:
    """Return the count of each class, the rarest first."""
    by_class = {
        label: [video for video in manifest.usable if label in video.labels]
        for label in manifest.class_names
    }
    counts = [
        ClassCount(
            label,
            len(videos),
            len(_groups(videos)),
            len(_groups(video for video in videos if video.split == "train")),
        )
        for label, videos in by_class.items()
    ]
    return sorted(counts, key=lambda count: (count.num_clips, count.label))


def describe(manifest: Manifest, train: TrainConfig) -> Iterator[str]:
    """Yield a line per class, the rarest first, and one per stream on its training's length."""
    counts = count_classes(manifest)
    for count in counts[:MAX_CLASSES_SHOWN]:
        yield (
            f"{count.num_clips} clips of `{count.label}` in {count.num_recordings} recordings, "
            f"{count.num_train_recordings} of them to train"
        )
    if hidden := counts[MAX_CLASSES_SHOWN:]:
        yield f"and {len(hidden)} classes with {hidden[0].num_clips} clips or more"
    num_clips = len(manifest.select("train"))
    steps = len(StepSampler.of(num_clips, train))
    for stream, settings in train.streams.items():
        yield (
            f"{stream}: {num_clips} clips to train, {settings.epochs} epochs of {steps} steps, "
            f"{settings.epochs * steps} in all"
        )


def find_concerns(manifest: Manifest, config: DataConfig) -> Iterator[str]:
    """Yield a sentence per trait of the dataset that is likely to harm, with what to do."""
    counts = count_classes(manifest)
    yield from _about_groups(manifest.usable, config)
    if few := [count for count in counts if count.num_train_recordings < FEW_RECORDINGS]:
        yield (
            f"{_labels(few)}: fewer than {FEW_RECORDINGS} recordings to train on, so that a "
            "network may learn the recordings rather than the class: record more"
        )
    smallest, largest = counts[0], counts[-1]
    if largest.num_clips > UNBALANCED * smallest.num_clips:
        yield (
            f"`{largest.label}` has {largest.num_clips} clips and `{smallest.label}` "
            f"{smallest.num_clips}: a network that always answers `{largest.label}` is often "
            "right; look at the mean over classes in the report, or add clips of the smaller "
            "classes"
        )


def _about_groups(videos: Sequence[Video], config: DataConfig) -> Iterator[str]:
    """Report names in which a folder's pattern finds no recording: each is one of its own."""
    alone = [video for video in videos if video.group == video.path]
    if config.dataset != "folder" or not alone:
        return
    which = "none" if len(alone) == len(videos) else f"{len(videos) - len(alone)}"
    others = "every clip" if which == "none" else f"each other clip ({_names(alone)})"
    yield (
        f"data.group_pattern '{config.group_pattern}' matches {which} of {len(videos)} names, so "
        f"{others} counts as a recording of its own: if some were cut from one recording, a "
        "network is tested on what it has learnt; name them like v_swim_g07_c02.mp4, or change "
        "the pattern"
    )


def _groups(videos: Sequence[Video] | Iterator[Video]) -> set[str]:
    return {video.group for video in videos}


def _labels(counts: Sequence[ClassCount]) -> str:
    return name_some([count.label for count in counts])


def _names(videos: Sequence[Video]) -> str:
    return name_some([video.path for video in videos])
