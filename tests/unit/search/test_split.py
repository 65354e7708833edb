import pytest
from hypothesis import given
from hypothesis import strategies as st

from stpa.data.manifest import Video
from stpa.errors import DataError
from stpa.search.split import split_for_validation
from tests.workspaces import make_video

Members = list[tuple[frozenset[str], str]]
"""Labels and recording of each video."""

members = st.lists(
    st.tuples(st.frozensets(st.sampled_from("abc"), max_size=2), st.sampled_from("12345678")),
    min_size=1,
    max_size=25,
)
num_folds = st.integers(2, 5)


def make_videos(found: Members) -> list[Video]:
    return [
        make_video(f"v{index}", labels=tuple(sorted(labels)), group=group)
        for index, (labels, group) in enumerate(found)
    ]


def owners(videos: list[Video], label: str) -> set[str]:
    return {video.group for video in videos if label in video.labels}


@given(members, num_folds, st.randoms())
def test_recordings_never_part_and_no_class_goes_untrained(found, folds, random):
    videos = make_videos(found)
    try:
        train, validation = split_for_validation(videos, folds)
    except DataError:
        return
    assert sorted(train + validation, key=str) == sorted(videos, key=str)
    assert {video.group for video in train}.isdisjoint(video.group for video in validation)
    shown = {label for video in videos for label in video.labels}
    assert {label for video in train for label in video.labels} == shown
    assert any(video.labels for video in validation)

    random.shuffle(videos)
    assert sorted(split_for_validation(videos, folds)[1], key=str) == sorted(validation, key=str)


@given(st.integers(2, 9), num_folds)
def test_every_class_of_several_recordings_of_its_own_is_validated(num_groups, folds):
    videos = make_videos(
        [(frozenset(label), f"{label}{n}") for label in "abc" for n in range(num_groups)]
    )
    train, validation = split_for_validation(videos, folds)
    for part in (train, validation):
        assert {label for video in part for label in video.labels} == set("abc")
    assert len(validation) <= 3 * max(1, -(-num_groups // folds))


@pytest.mark.parametrize(
    "found",
    [
        pytest.param([("a", "1"), ("b", "1")], id="one recording"),
        pytest.param([("a", "1"), ("b", "2")], id="one recording a class"),
        pytest.param([("a", "1"), ("", "2"), ("", "3")], id="unlabelled ones to spare"),
    ],
)
def test_where_no_recording_can_be_spared_the_error_says_what_is_needed(found):
    videos = make_videos([(frozenset(labels), group) for labels, group in found])
    with pytest.raises(DataError, match=r"^\d training videos of \d recording\(s\) leave none"):
        split_for_validation(videos, 3)
