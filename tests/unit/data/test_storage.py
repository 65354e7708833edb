import hashlib
from pathlib import Path

import pytest

from stpa.data.decode import read_frames
from stpa.data.storage import FETCH_ATTEMPTS, Folder, RemoteFiles
from stpa.errors import DataError, RemoteError
from tests.workspaces import write_video


@pytest.fixture
def files(tmp_path: Path) -> RemoteFiles:
    """A remote in a folder that holds one video, as DVC lays it out."""
    write_video(tmp_path / "a.avi", seed=0, num_frames=5)
    return RemoteFiles(
        remote=str(tmp_path / "remote"),
        objects={"class ü/a.avi": store(tmp_path / "remote", (tmp_path / "a.avi").read_bytes())},
        cache=tmp_path / "cache",
        cache_bytes=10**6,
    )


def store(remote: Path, content: bytes) -> str:
    md5 = hashlib.md5(content).hexdigest()
    path = remote / "files" / "md5" / md5[:2] / md5[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return md5


def only_object(files: RemoteFiles) -> Path:
    [path] = [path for path in Path(files.remote).rglob("*") if path.is_file()]
    return path


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What would have been waited between attempts."""
    waits: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", waits.append)
    return waits


def test_a_file_of_a_folder_is_read_where_it_lies(tmp_path):
    with Folder(tmp_path).local("class ü/a.avi") as path:
        assert path == tmp_path / "class ü" / "a.avi"


def test_a_remote_file_is_read_from_its_copy(files, tmp_path):
    with files.local("class ü/a.avi") as path:
        assert path.read_bytes() == (tmp_path / "a.avi").read_bytes()
        frames = read_frames(path, [0, 4])
    assert (frames == read_frames(tmp_path / "a.avi", [0, 4])).all()
    only_object(files).unlink()
    with files.local("class ü/a.avi") as path:
        assert path.read_bytes() == (tmp_path / "a.avi").read_bytes()


def test_a_fault_names_the_file_and_where_it_came_from(files):
    objects = {"b.avi": store(Path(files.remote), b"no video")}
    broken = RemoteFiles(files.remote, objects, files.cache, files.cache_bytes)
    with (
        pytest.raises(DataError, match=r"^b\.avi \(.*/files/md5/.*\) does not decode"),
        broken.local("b.avi") as path,
    ):
        read_frames(path, [0])


def test_what_the_version_does_not_have_is_named(files):
    with (
        pytest.raises(DataError, match=r"c\.avi is not among the versioned files"),
        files.local("c.avi"),
    ):
        pass


def test_an_object_that_is_gone_is_not_tried_again(files, waits):
    only_object(files).unlink()
    with (
        pytest.raises(DataError, match=r"class ü/a\.avi is gone from the remote"),
        files.local("class ü/a.avi"),
    ):
        pass
    assert waits == []


def test_an_object_that_comes_damaged_is_fetched_again_and_never_read(files, waits):
    path = only_object(files)
    path.write_bytes(path.read_bytes()[:-1])
    with (
        pytest.raises(RemoteError, match=r"class ü/a\.avi cannot be fetched .* bytes came") as told,
        files.local("class ü/a.avi"),
    ):
        pass
    assert "\n" not in str(told.value)
    assert len(waits) == FETCH_ATTEMPTS - 1
    assert list((files.cache / "objects").iterdir()) == []


def test_what_else_lies_in_the_cache_s_folder_stays(files):
    files.cache.mkdir()
    (files.cache / "thesis.txt").write_bytes(bytes(2 * files.cache_bytes))
    with files.local("class ü/a.avi"):
        pass
    assert (files.cache / "thesis.txt").exists()
