"""Python processes without the current folder on their path.

`python -m` and `python -c` put it first, and an empty entry of PYTHONPATH adds it too. A person's
random.py there would end each server that imports random.
"""

import os
import sys

SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""For the environment of a process; those that it starts in turn inherit it."""


def leave_out_current_folder() -> None:
    """Keep the current folder off the path of this process and of all that it starts.

    Call it before importing what a file of the current folder could hide: where PYTHONPATH has an
    empty entry, the program starts again without it. An entry `.` is meant, and stays.
    """
    os.environ.update(SAFE_PATH)
    path = os.environ.get("PYTHONPATH")
    if path and "" in (entries := path.split(os.pathsep)):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, entries))
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
