"""A workspace changes under one process at a time."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from stpa.errors import ComputeError
from stpa.files import write_text
from stpa.workspace import Workspace, exclusive

HOLD = """
import sys, time
from pathlib import Path
from stpa.workspace import Workspace, exclusive
with exclusive(Workspace(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path):
    workspace = Workspace(tmp_path)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ComputeError, match="another process"), exclusive(workspace):
            pass
        holder.kill()
    with exclusive(workspace):
        pass


def test_within_a_block_another_one_changes_nothing(tmp_path):
    with exclusive(Workspace(tmp_path)):
        with exclusive(Workspace(tmp_path / ".." / tmp_path.name)):
            pass
        done = subprocess.run([sys.executable, "-c", HOLD, tmp_path], stderr=subprocess.PIPE)
        assert b"another process is at work" in done.stderr


def test_a_thread_of_other_work_is_kept_out(tmp_path):
    def enter() -> None:
        with exclusive(Workspace(tmp_path)):
            pass

    with exclusive(Workspace(tmp_path)), ThreadPoolExecutor(1) as pool:
        fault = pool.submit(enter).exception()
    assert isinstance(fault, ComputeError)


def test_what_a_killed_process_left_half_written_is_gone_for_the_next(tmp_path):
    workspace = Workspace(tmp_path)
    whole = workspace.runs / "train" / "rgb" / "done.json"
    write_text(whole, "{}")
    for folder in (workspace.runs / "train" / "rgb", workspace.videos, workspace.optical_flow):
        (folder / ".partial-0123abcd" / "model" / ".partial-89ab").mkdir(parents=True)
        (folder / ".partial-4567cdef.avi").touch()
    predicting = workspace.registered / ".partial-01234567"
    predicting.mkdir(parents=True)
    with exclusive(workspace):
        assert list(workspace.runs.rglob("*.*")) == [whole]
        assert not [*workspace.videos.iterdir(), *workspace.optical_flow.iterdir()]
        assert predicting.exists()
