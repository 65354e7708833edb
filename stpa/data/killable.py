"""Call a function on videos in processes that can be killed.

A decoder may hang or crash on a damaged file. Then a process of its own ends, and a reason is left.
"""

import resource
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, as_completed
from multiprocessing import get_context
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessPool

from stpa.config import DecodeConfig
from stpa.data.deadline import decoding, limit_decoding

Key = TypeVar("Key")
Result = TypeVar("Result")


def call_killable(
    function: Callable[..., Result],
    calls: Mapping[Key, tuple[Any, ...]],
    limits: DecodeConfig,
    num_processes: int,
) -> Iterator[tuple[Key, Result | str]]:
    """Yield, as each is done, the key of a call and its result, or the reason why there is none.

    A call may take any time as long as frames come (`stpa.data.deadline.on_progress`).
    """
    if not calls:
        return
    # spawn: a fork of a process with threads can inherit a lock that nobody will release.
    pool = ProcessPool(min(num_processes, len(calls)), context=get_context("spawn"))
    try:
        keys: dict[Future[Result], Key] = {
            pool.schedule(_call_in_time, (function, arguments, limits)): key
            for key, arguments in calls.items()
        }
        for future in as_completed(keys):
            found: Result | str
            try:
                found = future.result()
            except ProcessExpired as error:
                found = "crashes its decoder"
                if error.exitcode == -signal.SIGALRM:
                    found = (
                        f"gives no frame for {limits.decode_deadline_seconds:g} s "
                        "(data.decode_deadline_seconds)"
                    )
            except MemoryError:
                found = "takes more memory than there is"
                if limits.decode_memory_gib:
                    found = (
                        f"takes over {limits.decode_memory_gib:g} GiB of memory to decode "
                        "(data.decode_memory_gib)"
                    )
            yield keys[future], found
    finally:
        pool.stop()
        pool.join()


def _call_in_time(
    function: Callable[..., Result], arguments: tuple[Any, ...], limits: DecodeConfig
) -> Result:
    """Call `function`, or die: the alarm ends a decoder that hangs in C, and orphans too."""
    limit_decoding(limits.decode_deadline_seconds)
    if limits.decode_memory_gib:
        num_bytes = int(limits.decode_memory_gib * 2**30)
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (num_bytes, hard))
    with decoding():
        return function(*arguments)
