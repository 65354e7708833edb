"""What holds for every test.

One thread for each process: the tests' networks are too small to share, and cores are few.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# Modules whose default tests use the fixture `retrained`. (xdist's own groups, by a mark, do not
# hold with pytest 9.)
SHARE_RETRAINING = (
    "test_bad_input",
    "test_estimate",
    "test_moved",
    "test_predict",
    "test_prefect_records",
    "test_restore",
    "test_retrain",
    "test_tracked_runs",
)

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Ray's workers import what tests pass to them, and the current folder is not on their path.
os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
# Ray's own workers give way to all else, and here all else is more tests.
os.environ.setdefault("RAY_worker_niceness", "0")
# As the command line has it: Prefect would write to a terminal that pytest has closed.
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
# The same; Prefect reads both when it is imported, which a test may be the first to do.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")

# A machine that is busy is no fault of the code.
settings.register_profile("any machine", deadline=None, print_blob=True)
settings.load_profile("any machine")


class _SharedFixtures(LoadScopeScheduling):
    """Keeps what shares fixtures in one process: a module, and all that looks at one retraining."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.split("::")[0]
        return "retraining" if Path(module).stem in SHARE_RETRAINING else module


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return _SharedFixtures(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    help_text = "K/N: of the chosen modules, each Nth from the Kth"
    parser.addoption("--part", type=_part, default=(1, 1), help=help_text)


def _part(text: str) -> tuple[int, int]:
    number, count = map(int, text.split("/"))
    if not 1 <= number <= count:
        raise ValueError(f"{text} is no part: K is from 1 to N")
    return number, count


@pytest.hookimpl(trylast=True)  # after -m and -k have chosen
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the modules of `--part`, whole: they share fixtures."""
    number, count = config.option.part
    chosen = set(sorted({item.path for item in items})[number - 1 :: count])
    left_out = [item for item in items if item.path not in chosen]
    items[:] = [item for item in items if item.path in chosen]
    config.hook.pytest_deselected(items=left_out)


@pytest.fixture
def heed_interrupts() -> Iterator[None]:
    """Undo what a shell does to background work, which ignores SIGINT, and its children with it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
