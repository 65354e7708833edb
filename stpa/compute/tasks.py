"""A Ray cluster for the length of a block, and a function mapped over items on it."""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

import ray
from ray.exceptions import AuthenticationError, RayError, RayTaskError
from ray.job_config import JobConfig

from stpa.errors import ClusterUnavailableError, ComputeError, first_line
from stpa.safe_path import SAFE_PATH

CONNECT_SECONDS = 5.0
CLIENT_SCHEME = "ray://"
JOBS_SCHEMES = ("http://", "https://")
IN_A_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray for the processes of a job, which find their cluster by RAY_ADDRESS."""
KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "-1",
    "MALLOC_ARENA_MAX": "1",
}
"""Settings of the GNU C library. By default it takes the memory of every large tensor from the
system and gives it back, and each time the kernel clears its pages: half of a training's time on a
CPU, and more (docs/benchmarks.md)."""
MAX_WORKER_DEATHS = 2
"""Times one item is tried again after the process or node that worked on it died."""

Item = TypeVar("Item")
Result = TypeVar("Result")

_is_kept = False
"""Whether a `keeping_cluster` block decides when to leave."""


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Connect to the Ray cluster at `address`, or at RAY_ADDRESS, or else start one here.

    In a job, a Jobs API's address stands for the cluster that the job runs on. Inside another
    `cluster` block it changes nothing: the outermost one connects and leaves, and stops what it
    started. Workers have `worker_environment`, and no current folder on their path. Raises
    ComputeError.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = find_cluster(address)
    try:
        with _keeping_handler(signal.SIGTERM):
            # The dashboard's agent also releases placement groups of trials that stop early.
            ray.init(
                address=address,
                include_dashboard=True if address == "local" else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": worker_environment() | SAFE_PATH},
                **_path_settings(address),
            )
    # Ray exits the process where a head node does not answer.
    except (ConnectionError, RuntimeError, RayError, ValueError, SystemExit) as error:
        raise unreachable(address, error) from error
    try:
        yield
    finally:
        if not _is_kept:
            ray.shutdown()


@contextmanager
def keeping_cluster() -> Iterator[None]:
    """Have the first `cluster` within the block stay until the block's end, for those after it.

    Work that turns out to need none starts none. Inside a block of either kind it changes nothing.
    """
    global _is_kept
    if _is_kept or ray.is_initialized():
        yield
        return
    _is_kept = True
    try:
        yield
    finally:
        _is_kept = False
        ray.shutdown()


def find_cluster(address: str | None) -> str:
    """Return where `cluster` connects to, or "local"; it connects to none.

    Raises ComputeError for what cannot be joined, and where nobody listens.
    """
    if jobs := jobs_address(address):
        raise ComputeError(
            f"the Jobs API at {jobs} takes `stpa train`, `stpa retrain` and `stpa search` alone: "
            "for this command, give compute.address as host:6379 or ray://host:10001"
        )
    found = joined_address(address) or "local"
    _check_reachable(found)
    return found


@contextmanager
def _keeping_handler(number: signal.Signals) -> Iterator[None]:
    """Put back what handles a signal, if anything does: Ray's own handler ends the process."""
    before = signal.getsignal(number)
    try:
        yield
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(number, before)


def _path_settings(address: str) -> dict[str, Any]:
    """Return settings with which Ray keeps the driver's current folder off the workers' path.

    A Ray Client needs none, and can take none. For other drivers Ray adds it, unless a working_dir
    is to be packed, sent to each node, and made the workers' current folder.
    """
    return {} if address.startswith(CLIENT_SCHEME) else {"job_config": JobConfig(_client_job=True)}


def worker_environment() -> dict[str, str]:
    """Return `KEEP_FREED_MEMORY`, but for what this process's own environment sets."""
    return {name: os.environ.get(name, value) for name, value in KEEP_FREED_MEMORY.items()}


def joined_address(address: str | None) -> str | None:
    """Return where `cluster` connects to, given compute.address; None: to one of its own."""
    if address and address.startswith(JOBS_SCHEMES) and IN_A_JOB in os.environ:
        address = None
    return address or os.environ.get("RAY_ADDRESS") or None


def jobs_address(address: str | None) -> str | None:
    """Return the Jobs API that compute.address, or RAY_ADDRESS, tells to submit to, if any."""
    joined = joined_address(address)
    return joined if joined and joined.startswith(JOBS_SCHEMES) else None


def map_unordered(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    num_cpus: float = 1.0,
    num_gpus: float = 0.0,
    max_retries: int = MAX_WORKER_DEATHS,
) -> Generator[tuple[Item, Result], None, None]:
    """Yield each item with its result, as they come; call it inside `cluster`.

    At most two items a slot are in flight, so `items` may be long. What the function raises is
    raised here, and ends the rest. ComputeError: no node has room for a single call, or an
    item's worker died `max_retries` + 1 times.
    """
    remote = ray.remote(
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        max_retries=max_retries,
        max_calls=0,  # else a worker with a GPU ends after one call, and what it loaded with it
    )
    task = remote(_call)
    shared = ray.put(function)  # once, not with every item: it may hold the names of all files
    in_flight = 2 * count_slots({"CPU": num_cpus, "GPU": num_gpus}, "each task")
    remaining = iter(items)
    pending = {task.remote(shared, item): item for item in islice(remaining, in_flight)}
    try:
        while pending:
            [ready], _ = ray.wait(list(pending), num_returns=1)
            item = pending.pop(ready)
            result = _fetch(ready, item)
            for following in islice(remaining, 1):
                pending[task.remote(shared, following)] = following
            yield item, result
    finally:
        if ray.is_initialized():
            for reference in pending:
                ray.cancel(reference, force=True)


def call_in_fresh_processes(
    functions: Sequence[Callable[[], Result]],
    *,
    num_cpus: float,
    num_gpus: float,
    max_seconds: float,
    purpose: str,
) -> list[tuple[float, Result]]:
    """Return, for each function, how many seconds its process took to start, and its result.

    Each process ends with its call, so that nothing of what that loaded stays in memory. Raises
    ComputeError, which names their `purpose`, where all of it takes over `max_seconds`.
    """
    remote = ray.remote(num_cpus=num_cpus, num_gpus=num_gpus, max_retries=0, max_calls=1)
    asked = time.time()
    references = [remote(_call_and_time).remote(function) for function in functions]
    _, late = ray.wait(references, num_returns=len(references), timeout=max_seconds)
    for reference in late:
        ray.cancel(reference, force=True)
    if late:
        raise ComputeError(f"{purpose} took over {max_seconds:.0f} s")
    results = [_fetch(reference, purpose) for reference in references]
    return [(started - asked, result) for started, result in results]


def count_slots(wanted: Mapping[str, float], purpose: str) -> int:
    """Return how often the resources `wanted` fit on the cluster at once.

    Raises ComputeError, which names their `purpose`, where they never will: Ray would wait.
    """
    available = ray.cluster_resources()
    shares = [available.get(name, 0) / amount for name, amount in wanted.items() if amount]
    slots = int(min(shares, default=1))
    if slots < 1:
        raise ComputeError(
            f"{purpose} needs {_describe(wanted)}, but the cluster has {_describe(available)}: "
            "change the compute section of params.yaml, or add nodes"
        )
    return slots


def gpu_share(tasks_per_gpu: int) -> float:
    """Return the share of a GPU for each of so many tasks; 0 where the cluster has none."""
    return 1 / tasks_per_gpu if ray.cluster_resources().get("GPU") else 0.0


def _call(function: Callable[[Item], Result], item: Item) -> Result:
    """Run in a worker. Ray makes tasks of plain functions alone, not of partials."""
    return function(item)


def _call_and_time(function: Callable[[], Result]) -> tuple[float, Result]:
    """Run in a worker; return when the call began, too."""
    return time.time(), function()


def _describe(resources: Mapping[str, float]) -> str:
    return " and ".join(f"{resources.get(name, 0):g} {name}" for name in ("CPU", "GPU"))


def _fetch(reference: ray.ObjectRef, item: object) -> Any:
    try:
        return ray.get(reference)
    except RayTaskError as error:
        raise error.cause from error
    except RayError as error:
        raise ComputeError(
            f"gave up {item}: its worker died again and again: {first_line(error)}"
        ) from error


def unreachable(address: str, error: BaseException) -> ClusterUnavailableError:
    """Return the error that nobody answers at `address`, or not to us."""
    advice = (
        "give its token: RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or ~/.ray/auth_token"
        if isinstance(error, AuthenticationError)
        else "start it, or correct compute.address or RAY_ADDRESS; null starts one on this machine"
    )
    return ClusterUnavailableError(f"no Ray cluster at {address} ({first_line(error)}): {advice}")


def _check_reachable(address: str) -> None:
    """Fail at once where nobody listens; Ray itself would try for minutes."""
    host, separator, port = address.removeprefix(CLIENT_SCHEME).rpartition(":")
    if not separator:
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise unreachable(address, error) from error
