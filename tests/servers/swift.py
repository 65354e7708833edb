"""A real S3 server on this machine: OpenStack Swift, one copy of each object, with its s3api."""

import getpass
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import fsspec

KINDS = ("account", "container", "object")
ACCESS_KEY, SECRET_KEY = "test:tester", "testing"
SECONDS_TO_START = 60.0

PROXY_PIPELINE = (
    "catch_errors gatekeeper healthcheck cache listing_formats bulk tempurl s3api tempauth copy "
    "slo dlo versioned_writes symlink proxy-server"
)


@dataclass
class SwiftServer:
    """Started by `start`; killed by `kill`, after which it can be started again as it was."""

    folder: Path
    ports: dict[str, int]
    _processes: list[subprocess.Popen] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports['proxy']}"

    @property
    def environment(self) -> dict[str, str]:
        """What s3fs, boto3 and DVC need to know, as a user would set it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def filesystem(self) -> fsspec.AbstractFileSystem:
        return fsspec.filesystem(
            "s3",
            key=ACCESS_KEY,
            secret=SECRET_KEY,
            endpoint_url=self.endpoint,
            skip_instance_cache=True,
            use_listings_cache=False,
        )

    def start(self) -> None:
        """Return when the server answers."""
        log = (self.folder / "log").open("ab")
        for name in (*KINDS, "proxy"):
            program = Path(sys.executable).with_name(f"swift-{name}-server")
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, program, self.folder / f"{name}.conf", "-v"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )
        log.close()
        deadline = time.monotonic() + SECONDS_TO_START
        while not all(map(_answers, self.ports.values())):
            told = (self.folder / "log").read_text()[-2000:]
            assert all(process.poll() is None for process in self._processes), told
            assert time.monotonic() < deadline, told
            time.sleep(0.05)

    def kill(self) -> None:
        """Stop it at once, as a power cut does."""
        for process in self._processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()


@contextmanager
def swift_server(folder: Path) -> Iterator[SwiftServer]:
    """Run a server that keeps its objects in `folder`."""
    server = SwiftServer(folder, dict(zip((*KINDS, "proxy"), _free_ports(4), strict=True)))
    _configure(server)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def _configure(server: SwiftServer) -> None:
    folder = server.folder
    (folder / "devices" / "sdb1").mkdir(parents=True)
    _write(
        folder / "swift.conf",
        {
            "swift-hash": {"swift_hash_path_prefix": "a", "swift_hash_path_suffix": "b"},
            "storage-policy:0": {"name": "one", "default": "yes"},
        },
    )
    for kind in KINDS:
        port = server.ports[kind]
        build = partial(_build_ring, folder / f"{kind}.builder")
        build("create", "6", "1", "0")
        build("add", f"r1z1-127.0.0.1:{port}/sdb1", "1")
        build("rebalance")
        app = {"use": f"egg:swift#{kind}", "disable_fallocate": "true"}
        sections = {"pipeline:main": {"pipeline": f"{kind}-server"}, f"app:{kind}-server": app}
        _write(folder / f"{kind}.conf", {"DEFAULT": _defaults(server, port), **sections})
    filters = {
        f"filter:{name}": {"use": f"egg:swift#{name}"}
        for name in PROXY_PIPELINE.split()
        if name not in ("cache", "proxy-server")
    }
    filters["filter:cache"] = {"use": "egg:swift#memcache"}
    filters["filter:tempauth"]["user_test_tester"] = "testing .admin"
    filters["filter:s3api"] |= {
        "location": "us-east-1",
        "s3_acl": "false",
        "check_bucket_owner": "false",
    }
    _write(
        folder / "proxy.conf",
        {
            "DEFAULT": _defaults(server, server.ports["proxy"]),
            "pipeline:main": {"pipeline": PROXY_PIPELINE},
            "app:proxy-server": {"use": "egg:swift#proxy", "account_autocreate": "true"},
            **filters,
        },
    )


def _defaults(server: SwiftServer, port: int) -> dict[str, str]:
    return {
        "bind_ip": "127.0.0.1",
        "bind_port": str(port),
        "workers": "0",
        "user": getpass.getuser(),
        "swift_dir": str(server.folder),
        "devices": str(server.folder / "devices"),
        "mount_check": "false",
    }


def _build_ring(builder: Path, *arguments: str) -> None:
    program = Path(sys.executable).with_name("swift-ring-builder")
    subprocess.run([sys.executable, program, builder, *arguments], check=True, capture_output=True)


def _write(path: Path, sections: Mapping[str, Mapping[str, str]]) -> None:
    lines = []
    for section, values in sections.items():
        lines += [f"[{section}]", *(f"{key} = {value}" for key, value in values.items())]
    path.write_text("\n".join(lines) + "\n")


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
