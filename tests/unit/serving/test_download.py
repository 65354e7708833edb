"""Videos from a real HTTP server."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stpa.errors import DataError
from stpa.serving.download import download
from tests.workspaces import write_video

PASSWORD = "sesam123"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Write nothing to the terminal."""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The address of a server that has the folder `served`."""
    served = tmp_path / "served"
    write_video(served / "a.avi", seed=1, num_frames=30)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=served)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_video_comes_whole_and_keeps_its_suffix(address, tmp_path):
    path = download(f"{address}/a.avi?signature=1", tmp_path)
    assert path.suffix == ".avi"
    assert path.read_bytes() == (tmp_path / "served" / "a.avi").read_bytes()


def test_no_more_is_fetched_than_the_limit(address, tmp_path):
    with pytest.raises(DataError, match="is larger than 1e-06 GiB"):
        download(f"{address}/a.avi", tmp_path, largest_gib=1e-6)
    assert (tmp_path / "video.avi").stat().st_size == 0


def test_what_is_not_there_is_told_without_passwords(address, tmp_path):
    secret = address.replace("://", f"://user:{PASSWORD}@")
    with pytest.raises(DataError, match=r"cannot be fetched \(404") as error:
        download(f"{secret}/gone.avi", tmp_path)
    assert PASSWORD not in str(error.value)


def test_a_server_that_nobody_runs_is_told(tmp_path):
    with pytest.raises(DataError, match=r"cannot be fetched \(Cannot connect to host 127.0.0.1:9"):
        download("http://127.0.0.1:9/a.avi", tmp_path)
