"""Call a function on videos in processes that can be killed.

A decoder may hang or crash on a damaged file. Then a process of its own ends, and a reason is left.
"""

import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from importlib import import_module
from itertools import islice
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import Any, TypeVar

import psutil
from pebble import ProcessExpired, ProcessPool
from pebble.pool.process import dictionary_values

from stpa.config import DecodeConfig
from stpa.data.deadline import decoding, limit_decoding

Key = TypeVar("Key")
Result = TypeVar("Result")

CALLS_PER_PROCESS = 2
"""One under way and one waiting or done: results are held in memory until they are taken."""
LOST_CALL_SECONDS = 10.0
"""After so long without a result, calls whose process is gone are looked for."""


def call_killable(
    function: Callable[..., Result],
    calls: Mapping[Key, tuple[Any, ...]],
    limits: DecodeConfig,
    num_processes: int,
) -> Iterator[tuple[Key, Result | str]]:
    """Yield what `KillablePool.call` yields, by a pool of its own."""
    if calls:
        with KillablePool(limits, min(num_processes, len(calls))) as pool:
            yield from pool.call(function, calls)


class KillablePool:
    """Processes that decode; one that dies is replaced."""

    def __init__(self, limits: DecodeConfig, num_processes: int) -> None:
        self.limits = limits
        self._num_processes = num_processes
        # spawn: a fork of a process with threads can inherit a lock that nobody will release.
        self._pool = ProcessPool(num_processes, context=_Context())

    def __enter__(self) -> "KillablePool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def warm_up(self, module: str) -> None:
        """Start the processes now, and let them import `module` while this one does other work."""
        for _ in range(self._num_processes):
            self._pool.schedule(import_module, (module,))

    def call(
        self, function: Callable[..., Result], calls: Mapping[Key, tuple[Any, ...]]
    ) -> Iterator[tuple[Key, Result | str]]:
        """Yield the key of each call, as it is done, and its result or why there is none.

        Calls go on while the caller works on what was yielded, up to `CALLS_PER_PROCESS` ahead. A
        call may take any time as long as frames come (`stpa.data.deadline.on_progress`).
        """
        remaining = iter(calls.items())
        running: dict[Future[Result], Key] = {}

        def make_calls() -> None:
            num_free = CALLS_PER_PROCESS * self._num_processes - len(running)
            for key, arguments in islice(remaining, num_free):
                scheduled = (function, arguments, self.limits)
                running[self._pool.schedule(_call_in_time, scheduled)] = key

        try:
            make_calls()
            while running:
                done, _ = wait(running, LOST_CALL_SECONDS, FIRST_COMPLETED)
                if not done:
                    self._end_lost_calls()
                    continue
                future = done.pop()
                key = running.pop(future)
                make_calls()  # before the caller works on this one
                yield key, self._result(future)
        finally:
            for future in running:
                future.cancel()

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        self._pool.stop()
        self._pool.join()

    def _end_lost_calls(self) -> None:
        """Give up calls whose process died before pebble had read that it took them.

        Pebble itself looks for the call of a process only at the moment when that has ended.
        """
        manager = self._pool._pool_manager
        for task in dictionary_values(manager.task_manager.tasks):
            if task.worker_id and task.worker_id not in manager.worker_manager.workers:
                manager.handle_worker_expiration((task.worker_id, None))

    def _result(self, future: Future[Result]) -> Result | str:
        limits = self.limits
        try:
            return future.result()
        except ProcessExpired as error:
            if error.exitcode == -signal.SIGALRM:
                return (
                    f"gives no frame for {limits.decode_deadline_seconds:g} s "
                    "(data.decode_deadline_seconds)"
                )
            return "crashes its decoder"
        except MemoryError:
            if limits.decode_memory_gib:
                return (
                    f"takes over {limits.decode_memory_gib:g} GiB of memory to decode "
                    "(data.decode_memory_gib)"
                )
            return "takes more memory than there is"


class _Process(SpawnProcess):
    """A process that does not import the script that started it, and that Ctrl-C does not reach.

    multiprocessing would import it: a script without `if __name__ == "__main__"` would then run
    once more in each process. What is called here is always in a module of its own.
    """

    _lock = threading.Lock()

    def start(self) -> None:
        with self._lock:
            script = sys.modules["__main__"]
            sys.modules["__main__"] = ModuleType("__main__")
            # The child inherits it, before its imports: Ctrl-C is for the caller, who ends it.
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                super().start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
                sys.modules["__main__"] = script


class _Context(SpawnContext):
    Process = _Process


def _call_in_time(
    function: Callable[..., Result], arguments: tuple[Any, ...], limits: DecodeConfig
) -> Result:
    """Call `function`, or die: the alarm ends a decoder that hangs in C, and orphans too."""
    limit_decoding(limits.decode_deadline_seconds)
    if limits.decode_memory_gib:
        # On top of what libraries hold: PyTorch's alone take 1 GB once they are imported.
        held = psutil.Process().memory_info().data
        _limit_memory(held + int(limits.decode_memory_gib * 2**30))
    with decoding():
        return function(*arguments)


def lift_memory_limit() -> None:
    """Let this process take any memory until its next call: the video has decoded within the
    limit, and what is computed from it may need a GPU's libraries.
    """
    _limit_memory(resource.RLIM_INFINITY)


def _limit_memory(num_bytes: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        num_bytes = hard if num_bytes == resource.RLIM_INFINITY else min(num_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (num_bytes, hard))
