import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stpa.data.manifest import Manifest, Video, label_matrix, read_manifest, write_manifest
from stpa.errors import DataError


def video(path: str = "swim/a.avi", **changes) -> Video:
    values = {
        "video_id": path.rpartition(".")[0],
        "path": path,
        "labels": (path.partition("/")[0] or "none",),
        "intervals": (),
        "group": "g01",
        "split": "train",
        "num_frames": 40,
        "fps": 29.97,
        "width": 320,
        "height": 240,
        "sha256": "0" * 64,
        "status": "ok",
        "reason": "",
    }
    return Video.model_validate(values | changes)


def quarantined(path: str) -> Video:
    reason = 'says "no",\nand more'
    return video(path, status="quarantined", reason=reason, num_frames=0, width=0, height=0)


MANIFEST = Manifest(
    (
        video("swim/a.avi"),
        video("swim/b c.mp4", split="test", num_lost=2),
        video('été/d,\n"e"\r.avi'),
        video("swim/none.avi", labels=(), split="test"),
        video(
            "swim/all.avi",
            labels=("swim", 'é"[,]\n', "swim"),
            intervals=((0.0, 1.5), None, (2.25, 1e9)),
        ),
        quarantined("row/f.avi"),
    )
)


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "manifest.csv"
    write_manifest(path, MANIFEST)
    return path


def test_a_written_manifest_is_read_back(written):
    assert read_manifest(written) == MANIFEST


def test_a_manifest_from_before_lost_frames_were_counted_is_read(written):
    lines = written.read_text(encoding="utf-8").split("\n")
    lines = [line.rpartition(",")[0] for line in lines if line.startswith(("video_id", "swim/b c"))]
    assert lines[0].endswith(",status,reason")
    written.write_text("\n".join(lines), encoding="utf-8")
    assert read_manifest(written) == Manifest((video("swim/b c.mp4", split="test"),))


def test_quarantined_videos_are_in_no_split_and_name_no_class():
    assert [video.path for video in MANIFEST.quarantined] == ["row/f.avi"]
    assert [video.path for video in MANIFEST.select("test")] == ["swim/b c.mp4", "swim/none.avi"]
    assert len(MANIFEST.select("train")) == 3
    assert MANIFEST.class_names == ("swim", 'é"[,]\n', "été")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.replace("train", "both", 1), "line 2: split"),
        (lambda text: text.replace(",40,", ",many,", 1), "line 2: num_frames"),
        (lambda text: text.replace(",40,", ",0,", 1), "line 2: row: .*needs frames"),
        (lambda text: text.replace("swim/a", "swim/../../a"), "stay below"),
        (lambda text: text[: text.index("29.97")], "line 2"),
        (lambda text: text.replace('""swim""', "swim", 1), "line 2: labels"),
        (lambda text: text.replace('""swim""', '""""', 1), "line 2: labels"),
        (lambda text: text.replace('""swim""', "7", 1), "line 2: labels"),
        (lambda text: text.replace('"[""swim""]"', "[" * 10_000, 1), "line 2: labels"),
        (lambda text: text.replace("[]", "[[0.0, 1.0], null]", 1), "line 2"),
        (lambda text: text.replace("1.5]", "NaN]", 1), "line .*: intervals"),
        (lambda text: text.replace("1.5]", "0.0]", 1), "line .*: row: .*start before it ends"),
        (lambda text: text.replace("0.0,", "-1.0,", 1), "line .*: intervals"),
        (lambda text: text.replace(", null", "", 1), "line .*: row: .*one for each label"),
        (lambda text: text.replace("sha256", "md5", 1), "line 2: sha256"),
        (lambda text: text + text.splitlines()[1] + "\n", "lists 'swim/a' twice"),
        (lambda text: "", "columns"),
        (lambda text: text + '"', "not a manifest"),
    ],
)
def test_a_damaged_manifest_says_where(written, damage, message):
    written.write_text(damage(written.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        read_manifest(written)
    assert str(written) in str(caught.value)


def test_a_manifest_that_is_not_text_is_refused(written):
    written.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not a manifest"):
        read_manifest(written)


def test_a_missing_manifest_says_to_ingest(tmp_path):
    with pytest.raises(DataError, match="run `stpa ingest` first"):
        read_manifest(tmp_path / "manifest.csv")


@pytest.mark.parametrize("path", ["/etc/a.avi", "../a.avi", "swim//a.avi", "swim/./a.avi"])
def test_a_path_that_leaves_the_videos_is_refused(path):
    with pytest.raises(ValidationError, match="stay below"):
        video(path)


SECONDS = st.floats(0, 1e6)
INTERVALS = st.none() | st.tuples(SECONDS, SECONDS).filter(lambda times: times[0] < times[1])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(actions=st.lists(st.tuples(TEXTS, INTERVALS)))
def test_labels_of_any_text_and_their_intervals_come_back(tmp_path_factory, actions):
    labels, intervals = [tuple(part) for part in zip(*actions, strict=True)] or ((), ())
    path = tmp_path_factory.mktemp("manifest") / "manifest.csv"
    written = Manifest((video(labels=labels, intervals=intervals),))
    write_manifest(path, written)
    assert read_manifest(path) == written


@pytest.mark.parametrize(
    ("labels", "multi_label"),
    [(("swim",), False), (("swim", "swim"), False), (("swim", "row"), True), ((), True)],
)
def test_several_labels_or_none_make_a_dataset_multi_label(labels, multi_label):
    videos = (video("swim/a.avi"), video("swim/b.avi", labels=labels))
    assert Manifest(videos).multi_label is multi_label


def test_a_quarantined_video_makes_no_dataset_multi_label():
    assert not Manifest(
        (video(), quarantined("row/f.avi").model_copy(update={"labels": ()}))
    ).multi_label


def test_the_label_matrix_has_a_row_a_video_and_a_column_a_class():
    videos = [video(labels=labels) for labels in (("b",), (), ("c", "a", "c"))]
    expected = np.array([[0, 1, 0], [0, 0, 0], [1, 0, 1]], bool)
    np.testing.assert_array_equal(label_matrix(videos, ["a", "b", "c"]), expected)


def test_a_label_that_is_no_class_is_told():
    with pytest.raises(DataError, match=r"labels \['c'\] are not among the classes \['a', 'b'\]"):
        label_matrix([video(labels=("a", "c"))], ["a", "b"])
