"""Processes that may die: how far ahead they work, and what they do not run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pebble.pool.process import TaskManager

from stpa.data import killable
from stpa.data.killable import (
    CALLS_PER_PROCESS,
    KillablePool,
    call_killable,
    lift_memory_limit,
)
from tests.unit.data.conftest import make_limits

NUM_CALLS = 20
UNGUARDED = """
from pathlib import Path
from stpa.data.killable import call_killable
from tests.unit.data.conftest import make_limits
from tests.unit.data.test_killable import leave_mark

print("the script runs")
[(_, found)] = call_killable(leave_mark, {{"a": (Path({mark!r}),)}}, make_limits(), 1)
print(found)
"""


def leave_mark(path: Path) -> str:
    path.touch()
    return "was called"


def test_calls_are_made_ahead_of_the_caller_but_only_so_far(tmp_path: Path) -> None:
    calls = {number: (tmp_path / str(number),) for number in range(NUM_CALLS)}
    most_ahead = 1 + CALLS_PER_PROCESS
    with KillablePool(make_limits(), 1) as pool:
        results = pool.call(leave_mark, calls)
        next(results)
        deadline = time.monotonic() + 60
        while len(list(tmp_path.iterdir())) < most_ahead:
            assert time.monotonic() < deadline, "nothing is called ahead"
            time.sleep(0.05)
        time.sleep(1)
        assert len(list(tmp_path.iterdir())) == most_ahead
        assert {found for _, found in results} == {"was called"}
    assert len(list(tmp_path.iterdir())) == NUM_CALLS


def hold_and_take(num_bytes: int, held: list[np.ndarray] = []) -> str:  # noqa: B006
    """Keep so many bytes for the calls that follow."""
    held.append(np.ones(num_bytes, np.uint8))
    return f"{len(held)}"


def test_a_limit_of_memory_is_on_top_of_what_libraries_hold(tmp_path: Path) -> None:
    with KillablePool(make_limits(decode_memory_gib=0.5), 1) as pool:
        calls = dict.fromkeys(range(3), (400 * 2**20,))
        assert [found for _, found in pool.call(hold_and_take, calls)] == ["1", "2", "3"]
        [(_, found)] = pool.call(hold_and_take, {"large": (600 * 2**20,)})
        assert found == "takes over 0.5 GiB of memory to decode (data.decode_memory_gib)"


def take_unlimited(num_bytes: int) -> str:
    lift_memory_limit()
    return f"took {np.ones(num_bytes, np.uint8).size}"


def test_a_limit_is_lifted_for_one_call_alone(tmp_path: Path) -> None:
    with KillablePool(make_limits(decode_memory_gib=0.5), 1) as pool:
        [(_, found)] = pool.call(take_unlimited, {"a": (600 * 2**20,)})
        assert found == f"took {600 * 2**20}"
        [(_, found)] = pool.call(hold_and_take, {"b": (600 * 2**20,)})
        assert found.startswith("takes over 0.5 GiB")


def test_calls_that_nobody_waits_for_any_more_are_not_made(tmp_path: Path) -> None:
    calls = {number: (tmp_path / str(number),) for number in range(NUM_CALLS)}
    with KillablePool(make_limits(), 1) as pool:
        results = pool.call(leave_mark, calls)
        next(results)
        results.close()  # pyright: ignore[reportAttributeAccessIssue]
        [(_, found)] = pool.call(leave_mark, {"last": (tmp_path / "last",)})
        assert found == "was called"
    assert len(list(tmp_path.iterdir())) < NUM_CALLS


def wait_or_crash(seconds: float) -> str:
    if not seconds:
        os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(seconds)
    return "waited"


def test_a_call_is_not_lost_if_its_process_dies_before_it_is_known_to_have_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start, delays = TaskManager.task_start, iter([0])

    def start_late(*arguments: Any) -> None:
        time.sleep(next(delays, 1))  # none for the call that waits, which is taken first
        start(*arguments)

    monkeypatch.setattr(TaskManager, "task_start", start_late)
    monkeypatch.setattr(killable, "LOST_CALL_SECONDS", 1)
    calls = {"waits": (8.0,), "crashes": (0.0,)}
    found = dict(call_killable(wait_or_crash, calls, make_limits(), 2))
    assert found == {"waits": "waited", "crashes": "crashes its decoder"}


def get_blocked_signals() -> set[int]:
    return signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_control_c_is_for_the_caller_alone() -> None:
    with KillablePool(make_limits(), 1) as pool:
        [(_, blocked)] = pool.call(get_blocked_signals, {"a": ()})
    assert blocked == {signal.SIGINT}
    assert signal.SIGINT not in get_blocked_signals()


def test_a_script_without_a_main_guard_is_not_run_once_more(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED.format(mark=str(tmp_path / "mark")))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["the script runs", "was called"], done.stderr
