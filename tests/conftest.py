"""One thread for each process: the tests' networks are too small to share, and cores are few."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
