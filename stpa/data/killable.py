"""Call a function on videos in processes that can be killed.

A decoder may hang or crash on a damaged file. Then a process of its own ends, and a reason is left.
"""

import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, as_completed
from multiprocessing import get_context
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessPool

from stpa.data.deadline import decoding, limit_decoding

Key = TypeVar("Key")
Result = TypeVar("Result")


def call_killable(
    function: Callable[..., Result],
    calls: Mapping[Key, tuple[Any, ...]],
    deadline_seconds: float,
    num_processes: int,
) -> Iterator[tuple[Key, Result | str]]:
    """Yield, as each is done, the key of a call and its result, or the reason why there is none."""
    if not calls:
        return
    # spawn: a fork of a process with threads can inherit a lock that nobody will release.
    pool = ProcessPool(min(num_processes, len(calls)), context=get_context("spawn"))
    try:
        keys: dict[Future[Result], Key] = {
            pool.schedule(_call_in_time, (function, arguments, deadline_seconds)): key
            for key, arguments in calls.items()
        }
        for future in as_completed(keys):
            found: Result | str
            try:
                found = future.result()
            except ProcessExpired as error:
                found = "crashes its decoder"
                if error.exitcode == -signal.SIGALRM:
                    found = f"takes over {deadline_seconds:g} s to decode"
            except MemoryError:
                found = "takes more memory than there is"
            yield keys[future], found
    finally:
        pool.stop()
        pool.join()


def _call_in_time(
    function: Callable[..., Result], arguments: tuple[Any, ...], deadline_seconds: float
) -> Result:
    """Call `function`, or die: the alarm ends a decoder that hangs in C, and orphans too."""
    limit_decoding(deadline_seconds)
    with decoding():
        return function(*arguments)
