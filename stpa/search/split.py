"""Hold recordings out of the training videos, so that nothing is chosen by the test videos."""

from collections.abc import Sequence

from stpa.data.datasets.folder import hold_out
from stpa.data.manifest import Video
from stpa.errors import DataError


def split_for_validation(
    videos: Sequence[Video], num_folds: int, split: int = 1
) -> tuple[tuple[Video, ...], tuple[Video, ...]]:
    """Part training videos into those to train and those to validate on; recordings never part.

    One fold of the recordings in `num_folds`, that of `split`, validates, whatever the order of
    `videos`. Classes of several recordings are in both parts, if that can be; the others are
    trained on. Raises DataError where no recording can be spared.
    """
    # What shows nothing counts as one more class.
    members = [(label, video.group) for video in videos for label in video.labels or ("",)]
    held_out = hold_out(members, num_folds, split)
    owners: dict[str, set[str]] = {}
    for label, group in members:
        owners.setdefault(label, set()).add(group)
    for label in sorted(owners):
        if owners[label] <= held_out:
            held_out.remove(min(owners[label]))
    train = tuple(video for video in videos if video.group not in held_out)
    validation = tuple(video for video in videos if video.group in held_out)
    if not any(video.labels for video in validation):
        raise DataError(
            f"{len(videos)} training videos of {len({video.group for video in videos})} "
            "recording(s) leave none to validate on: some class needs two recordings to train on "
            "(data.group_pattern), or more of the videos"
        )
    return train, validation
