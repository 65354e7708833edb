import pytest
from pydantic import ValidationError

from stpa.data.manifest import Manifest, Video, read_manifest, write_manifest
from stpa.errors import DataError


def video(path: str = "swim/a.avi", **changes) -> Video:
    values = {
        "video_id": path.rpartition(".")[0],
        "path": path,
        "label": path.partition("/")[0] or "none",
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
        video("swim/b c.mp4", split="test"),
        video('été/d,\n"e"\r.avi'),
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


def test_quarantined_videos_are_in_no_split_and_name_no_class():
    assert [video.path for video in MANIFEST.quarantined] == ["row/f.avi"]
    assert [video.path for video in MANIFEST.select("test")] == ["swim/b c.mp4"]
    assert len(MANIFEST.select("train")) == 2
    assert MANIFEST.class_names == ("swim", "été")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.replace("train", "both", 1), "line 2: split"),
        (lambda text: text.replace(",40,", ",many,", 1), "line 2: num_frames"),
        (lambda text: text.replace(",40,", ",0,", 1), "line 2: row: .*needs frames"),
        (lambda text: text.replace("swim/a", "swim/../../a"), "stay below"),
        (lambda text: text[: text.index("29.97")], "line 2"),
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
