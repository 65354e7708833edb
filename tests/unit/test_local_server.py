"""What a server of another package has on its path."""

import os

from stpa.local_server import LocalServer, free_port

APP = """
import os, sys
from pathlib import Path
Path(os.environ["NOTES"]).write_text(os.pathsep.join(sys.path))
async def app(*_request): ...
"""


def test_the_current_folder_is_not_on_the_path_of_a_server_by_uvicorn(tmp_path, monkeypatch):
    apps, current, notes = (tmp_path / name for name in ("apps", "current", "notes"))
    for folder in (apps, current):
        folder.mkdir()
    (apps / "noting.py").write_text(APP)
    monkeypatch.chdir(current)
    server = LocalServer(
        "uvicorn",
        ["uvicorn", "noting:app"],
        port=free_port(),
        log=tmp_path / "server.log",
        PYTHONPATH=str(apps),
        NOTES=str(notes),
    )
    try:
        server.await_answer()
    finally:
        server.stop()
    path = notes.read_text().split(os.pathsep)
    assert str(apps) in path
    assert not {"", ".", str(current)} & set(path)
