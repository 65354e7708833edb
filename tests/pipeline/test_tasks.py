"""`stpa.compute.tasks` on a real Ray cluster."""

import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from stpa.compute.tasks import (
    KEEP_FREED_MEMORY,
    call_in_fresh_processes,
    cluster,
    keeping_cluster,
    map_unordered,
)
from stpa.errors import ComputeError, DataError


@pytest.fixture(scope="module")
def local_cluster():
    ray.init(address="local", num_gpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def square(number: int) -> int:
    return number * number


def process_of(number: int) -> int:
    return os.getpid()


def refuse_three(number: int) -> int:
    if number == 3:
        raise DataError("video 3 does not decode")
    return number


def fill_the_disk(number: int) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/flow.avi")


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_the_first_time(mark: Path) -> str:
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def setting_of(name: str) -> str | None:
    return os.environ.get(name)


def path_of(_number: int) -> tuple[list[str], bool]:
    return sys.path, sys.flags.safe_path


class TestKept:
    """Each cluster here is its own: they run before that of the other tests."""

    def test_the_first_cluster_stays_until_the_end_and_none_starts_unasked(self, monkeypatch):
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        monkeypatch.setenv("MALLOC_ARENA_MAX", "7")
        with keeping_cluster():
            assert not ray.is_initialized()
            with cluster(None), keeping_cluster():
                node = ray.get_runtime_context().get_node_id()
            with cluster(None):
                assert ray.get_runtime_context().get_node_id() == node
                settings = dict(map_unordered(setting_of, list(KEEP_FREED_MEMORY)))
        assert not ray.is_initialized()
        assert settings == KEEP_FREED_MEMORY | {"MALLOC_ARENA_MAX": "7"}

    def test_the_current_folder_is_not_on_a_workers_path(self, monkeypatch, tmp_path):
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        monkeypatch.chdir(tmp_path)
        with cluster(None):
            [(_, (path, is_safe))] = map_unordered(path_of, [0])
        assert not {"", str(tmp_path)} & set(path)
        assert is_safe  # so that what the worker starts leaves out its own current folder


def test_a_handler_of_sigterm_outlives_rays_own(monkeypatch):
    handled = []
    monkeypatch.setattr(ray, "init", lambda **_: signal.signal(signal.SIGTERM, signal.SIG_IGN))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    before = signal.signal(signal.SIGTERM, lambda number, frame: handled.append(number))
    try:
        with cluster(None):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert handled == [signal.SIGTERM]


class TestUnreachable:
    """Ray itself would try for five minutes and then exit the process."""

    @pytest.mark.parametrize("scheme", ["", "ray://"])
    def test_no_listener_is_said_in_seconds(self, scheme):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        started = time.monotonic()
        with (
            pytest.raises(ComputeError, match="no Ray cluster at") as caught,
            cluster(f"{scheme}127.0.0.1:{port}"),
        ):
            pass
        assert time.monotonic() - started < 10
        assert "\n" not in str(caught.value)

    def test_ray_address_is_honoured(self, monkeypatch):
        monkeypatch.setenv("RAY_ADDRESS", "no-such-host.invalid:6379")
        with (
            pytest.raises(ComputeError, match=r"no Ray cluster at no-such-host.invalid:6379"),
            cluster(None),
        ):
            pass


@pytest.mark.usefixtures("local_cluster")
class TestMapUnordered:
    def test_each_item_comes_once_with_its_result(self):
        assert sorted(map_unordered(square, range(20), num_cpus=0.5)) == [
            (number, number * number) for number in range(20)
        ]

    def test_a_partial_is_a_function(self):
        assert list(map_unordered(partial(pow, 2), [5])) == [(5, 32)]

    @pytest.mark.parametrize("num_gpus", [0.0, 1.0])
    def test_a_process_serves_many_items_and_keeps_what_it_loaded(self, num_gpus):
        served = list(map_unordered(process_of, range(12), num_cpus=1.0, num_gpus=num_gpus))
        assert len({process for _, process in served}) <= ray.cluster_resources()["CPU"]

    def test_no_items_give_no_results(self):
        assert list(map_unordered(square, [])) == []

    def test_items_are_taken_as_slots_come_free(self):
        taken = []

        def items():
            for number in range(1000):
                taken.append(number)
                yield number

        results = map_unordered(square, items(), num_cpus=1.0)
        next(results)
        assert len(taken) <= 2 * ray.cluster_resources()["CPU"] + 1
        results.close()

    def test_an_stpa_error_of_a_task_is_raised_as_itself(self):
        with pytest.raises(DataError, match=r"^video 3 does not decode$") as caught:
            list(map_unordered(refuse_three, range(5)))
        assert type(caught.value) is DataError

    def test_an_os_error_of_a_task_keeps_its_number_and_file(self):
        with pytest.raises(OSError, match="No space left") as caught:
            list(map_unordered(fill_the_disk, [1]))
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/data/flow.avi")

    def test_an_item_whose_worker_died_is_tried_again(self, tmp_path):
        mark = tmp_path / "died"
        assert list(map_unordered(die_the_first_time, [mark])) == [(mark, "done")]

    def test_an_item_that_always_kills_its_worker_is_given_up_by_name(self):
        with pytest.raises(ComputeError, match="gave up 7: its worker died"):
            list(map_unordered(die, [7], max_retries=1))

    def test_a_task_that_no_cluster_can_hold_is_refused_at_once(self):
        with pytest.raises(ComputeError, match=r"each task needs 1 CPU and 99 GPU"):
            next(map_unordered(square, [1], num_gpus=99.0))

    def test_an_inner_cluster_leaves_the_outer_one_running(self):
        with cluster(None):
            pass
        assert ray.is_initialized()


@pytest.mark.usefixtures("local_cluster")
class TestFreshProcesses:
    def call(self, *functions: Callable[[], Any], max_seconds: float = 120.0) -> list[Any]:
        return call_in_fresh_processes(
            functions, num_cpus=0.5, num_gpus=0.0, max_seconds=max_seconds, purpose="measuring"
        )

    def test_each_call_has_a_process_that_ends_with_it(self):
        processes = [process for _, process in self.call(os.getpid, os.getpid)]
        assert len({*processes, os.getpid()}) == 3
        deadline = time.monotonic() + 60
        while any(map(psutil.pid_exists, processes)):
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def test_the_start_of_a_process_is_timed_without_its_call(self):
        started = time.monotonic()
        [(start_seconds, _)] = self.call(partial(time.sleep, 1.0))
        assert 0 < start_seconds <= time.monotonic() - started - 1.0

    def test_calls_that_take_too_long_are_ended(self):
        with pytest.raises(ComputeError, match=r"^measuring took over 0 s$"):
            self.call(partial(time.sleep, 600.0), max_seconds=0.1)

    def test_what_a_call_raises_is_raised_here(self):
        with pytest.raises(DataError, match=r"^video 3 does not decode$"):
            self.call(partial(refuse_three, 3))
