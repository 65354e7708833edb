"""A limit on how long a decoder of this process may give nothing: beyond it, the process ends.

A decoder that hangs in C heeds nothing less: no exception, and no thread either where it holds
Python's lock. So only for processes that another one watches, such as those of a loader.
"""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")

_limit_seconds = 0.0


def limit_decoding(seconds: float) -> None:
    """Let `decoding` end this process by SIGALRM from now on; 0 stands for no limit."""
    global _limit_seconds
    _limit_seconds = seconds


@contextmanager
def decoding() -> Iterator[None]:
    """Decode something within the limit of this process, if it has one."""
    if not _limit_seconds:
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, _limit_seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def on_progress() -> None:
    """Begin the limit again while something is decoded: a long video takes longer than a hang."""
    if _limit_seconds and signal.getitimer(signal.ITIMER_REAL)[0]:
        signal.setitimer(signal.ITIMER_REAL, _limit_seconds)


def decoding_each(items: Iterable[Item]) -> Iterator[Item]:
    """Yield what a decoder yields, each within the limit; what is done with it takes its time."""
    remaining = iter(items)
    while True:
        with decoding():
            try:
                item = next(remaining)
            except StopIteration:
                return
        yield item
