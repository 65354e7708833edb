"""A wish from outside that this process leave soon: Ctrl-C, or SIGTERM before a machine goes."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from stpa.errors import InterruptedTrainingError

_ASKED = threading.Event()
_ASKED_AGAIN = threading.Event()


@contextmanager
def leaving_when_asked() -> Iterator[None]:
    """Take the first SIGINT or SIGTERM within the block as a wish, heeded where work may be left.

    A second one has its usual effect, and other threads drop their work. Signals reach the main
    thread alone; elsewhere nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    _ASKED_AGAIN.clear()

    def put_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, _frame: object) -> None:
        if _ASKED.is_set():
            _ASKED_AGAIN.set()
            put_back()
            signal.raise_signal(number)
        _ASKED.set()

    for number in before:
        signal.signal(number, ask)
    try:
        yield
    finally:
        put_back()
        _ASKED.clear()


def is_asked_to_leave() -> bool:
    """Tell whether the wish has come, in any thread of the process."""
    return _ASKED.is_set()


def is_asked_again() -> bool:
    """Tell whether it has come twice: leave at once. That holds until the next block."""
    return _ASKED_AGAIN.is_set()


def leave_if_asked() -> None:
    """Go no further where the wish has come between pieces of work.

    Raises InterruptedTrainingError.
    """
    if _ASKED.is_set():
        raise InterruptedTrainingError("stopped as asked: run it again for what is left")
