"""A wish from outside that this process leave soon: lent machines give notice by SIGTERM."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from stpa.errors import InterruptedTrainingError

_ASKED = threading.Event()


@contextmanager
def leaving_on_sigterm() -> Iterator[None]:
    """Take the first SIGTERM within the block as a wish, for which long work looks at its leisure.

    A second one has its usual effect. Signals reach the main thread alone; elsewhere nothing
    changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)

    def ask(_number: int, _frame: object) -> None:
        _ASKED.set()
        signal.signal(signal.SIGTERM, before)

    signal.signal(signal.SIGTERM, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _ASKED.clear()


def is_asked_to_leave() -> bool:
    """Tell whether the wish has come, in any thread of the process."""
    return _ASKED.is_set()


def leave_if_asked() -> None:
    """Go no further where the wish has come between pieces of work.

    Raises InterruptedTrainingError.
    """
    if _ASKED.is_set():
        raise InterruptedTrainingError("stopped as asked: run it again for what is left")
