"""A Ray cluster's head node as processes of its own, beside whatever Ray runs on the machine."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil

RAY = Path(sys.executable).with_name("ray")
HOST = "127.0.0.1"
MARK = "RAY_HEAD_MARK"
SECONDS_TO_ANSWER = 120.0


@dataclass(frozen=True)
class RayHead:
    """A head node's addresses: as a node of the cluster, by Ray Client, and of its Jobs API."""

    address: str
    client: str
    jobs: str


@contextmanager
def ray_head(num_cpus: int) -> Iterator[RayHead]:
    """Run a head node until the block ends, and then none of its processes any more.

    Not by `ray stop`, which ends every Ray of the machine. Jobs find this Python's `stpa`.
    """
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # sockets' paths must be short
    gcs, client, jobs, agent = free_ports(4)
    mark = uuid.uuid4().hex
    path = f"{RAY.parent}{os.pathsep}{os.environ['PATH']}"
    command = [
        *(RAY, "start", "--head", "--block", "--disable-usage-stats"),
        *(f"--node-ip-address={HOST}", f"--port={gcs}", f"--ray-client-server-port={client}"),
        *(f"--dashboard-host={HOST}", f"--dashboard-port={jobs}"),
        *(f"--dashboard-agent-listen-port={agent}", f"--temp-dir={folder}"),
        *(f"--num-cpus={num_cpus}", "--object-store-memory=200000000"),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with (folder / "head.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env=environment | {MARK: mark, "PATH": path, "RAY_AUTH_MODE": "disabled"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    head = RayHead(f"{HOST}:{gcs}", f"ray://{HOST}:{client}", f"http://{HOST}:{jobs}")
    try:
        _await_answer(f"{head.jobs}/api/version", process, folder / "head.log")
        yield head
    finally:
        process.terminate()
        _end(process, mark)
        shutil.rmtree(folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody listens on; all differ."""
    servers = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


def _await_answer(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_ANSWER
    while True:
        assert process.poll() is None, log.read_text()
        try:
            urlopen(url, timeout=5).close()
        except HTTPError:  # it wants a token, which Ray's own clients have
            return
        except OSError:
            time.sleep(0.2)
        else:
            return
        assert time.monotonic() < deadline, log.read_text()


def _end(process: subprocess.Popen[bytes], mark: str) -> None:
    """Kill what the head node started; its processes are in several groups."""
    for left in psutil.process_iter():
        with suppress(psutil.Error):
            if left.environ().get(MARK) == mark:
                left.kill()
    process.wait()
