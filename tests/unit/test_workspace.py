"""A workspace changes under one process at a time."""

import subprocess
import sys

import pytest

from stpa.errors import ComputeError
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
