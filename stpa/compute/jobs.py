"""Commands of this project as jobs of a Ray cluster, by its Jobs API.

A job is a process on the head node, and outlives whoever submitted it. Its log is all that comes
back; its results are in the workspace, a folder that the cluster's nodes and this machine share.
"""

import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.exceptions import RayError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from stpa.compute.tasks import unreachable
from stpa.errors import ClusterUnavailableError, ComputeError
from stpa.files import digest_value

ANSWER_SECONDS = (5.0, 30.0)
"""To connect, and to answer a request."""
SILENCE_SECONDS = 120.0
"""How long a head node may be out of reach before its job is followed no more."""
STOP_SECONDS = 30.0
POLL_SECONDS = 2.0
LOG_BYTES_A_SECOND = 100_000
"""Each look fetches the whole log: long ones are looked at less often."""
NOT_FOUND = 127
"""What a shell exits with for a program that is not on PATH."""


@dataclass(frozen=True)
class Work:
    """A command of the command line, to run on the cluster as it would here."""

    command: str
    workspace: Path
    """Absolute: all nodes see it there."""
    arguments: tuple[str, ...] = ()
    inputs: str = ""
    """Digest of what else decides the results: the same command on others is other work."""

    @property
    def entrypoint(self) -> str:
        """The line for the head node's shell, whatever the names in it are."""
        stpa = ("stpa", self.command, *self.arguments, "--workspace", str(self.workspace))
        return shlex.join(stpa)

    @property
    def key(self) -> str:
        """What the ids of its jobs begin with."""
        return f"stpa-{self.command}-{digest_value([self.entrypoint, self.inputs])}"

    @property
    def labels(self) -> Mapping[str, str]:
        """What to find its jobs by, with the arguments that are given here and any others."""
        given = {f"argument {argument}": "given" for argument in self.arguments}
        return {"workspace": str(self.workspace), "command": self.command, **given}


class Jobs:
    """The jobs of the cluster whose Jobs API is at `address`, such as http://head:8265.

    Raises ClusterUnavailableError where none answers.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        os.environ["RAY_API_SERVER_ADDRESS"] = address  # else Ray prefers RAY_ADDRESS
        with self._answering():
            self._client = _Client(address)

    def running(self) -> int:
        """Count the jobs that have not ended, whoever submitted them."""
        return sum(not job.status.is_terminal() for job in self._all())

    def submit(self, work: Work) -> tuple[str, bool]:
        """Start `work` unless it is running; return its job's id, and whether it was started."""
        numbers = {0: True}
        for job in self._all():
            key, _, number = (job.submission_id or "").rpartition("-")
            if key == work.key:
                numbers[int(number)] = job.status.is_terminal()
        last = max(numbers)
        if not numbers[last]:
            return f"{work.key}-{last}", False
        # Of two who submit at the same time, Ray takes one, for they come to the same id.
        job_id = f"{work.key}-{last + 1}"
        with self._answering():
            try:
                self._client.submit_job(
                    entrypoint=work.entrypoint, submission_id=job_id, metadata=dict(work.labels)
                )
            except RuntimeError as error:
                if "already exists" not in str(error):
                    raise
                return job_id, False
        return job_id, True

    def find(self, work: Work) -> str:
        """Return the id of its running job, or else of its last; raise ComputeError for none."""
        found = [
            job
            for job in self._all()
            if job.submission_id and work.labels.items() <= (job.metadata or {}).items()
        ]
        if not found:
            raise ComputeError(
                f"the cluster at {self._address} has had no job `{work.entrypoint}`: "
                "submit one by the same command without --attach or --stop"
            )
        newest = max(found, key=lambda job: (not job.status.is_terminal(), job.start_time or 0))
        assert newest.submission_id
        return newest.submission_id

    def follow(self, job_id: str, show: Callable[[str], None]) -> None:
        """Show a job's log from its start, as it comes, and return when the job has succeeded.

        Raises ComputeError where it failed or was stopped, and ClusterUnavailableError where the
        head node does not answer for `SILENCE_SECONDS`.
        """
        shown = 0
        while True:
            job, log = self._look(job_id)
            if log[shown:]:
                show(log[shown:])
                shown = len(log)
            if job.status.is_terminal():
                break
            time.sleep(POLL_SECONDS + len(log) / LOG_BYTES_A_SECOND)
        if job.status is not JobStatus.SUCCEEDED:
            raise ComputeError(f"job {job_id} {_fault(job)}")

    def stop(self, job_id: str) -> bool:
        """End a job, and return whether it was running; what it had finished stays."""
        with self._answering():
            was_running = self._client.stop_job(job_id)
        deadline = time.monotonic() + STOP_SECONDS
        while not self._look(job_id)[0].status.is_terminal():
            if time.monotonic() > deadline:
                raise ComputeError(f"job {job_id} does not stop: look at it at {self._address}")
            time.sleep(POLL_SECONDS / 4)
        return was_running

    def _all(self) -> list[JobDetails]:
        with self._answering():
            return self._client.list_jobs()

    @retry(
        retry=retry_if_exception_type(ClusterUnavailableError),
        stop=stop_after_delay(SILENCE_SECONDS),
        wait=wait_fixed(POLL_SECONDS),
        reraise=True,
    )
    def _look(self, job_id: str) -> tuple[JobDetails, str]:
        """Return a job and, read later so that it is whole once the job has ended, its log."""
        with self._answering():
            return self._client.get_job_info(job_id), self._client.get_job_logs(job_id)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        # Ray tells answers that are no Jobs API's by whatever its own reading of them raises.
        try:
            yield
        except (OSError, RuntimeError, RayError, KeyError, TypeError, ValueError) as error:
            raise unreachable(self._address, error) from error


class _Client(JobSubmissionClient):
    """Ray's own, which would wait for ever for a server that does not answer."""

    def _do_request(self, *args: Any, **options: Any) -> Any:
        return super()._do_request(*args, timeout=ANSWER_SECONDS, **options)


def _fault(job: JobDetails) -> str:
    """Say in a line how a job ended that did not succeed."""
    if job.status is JobStatus.STOPPED:
        return "was stopped: the same command without --attach goes on from its last checkpoint"
    if job.driver_exit_code == NOT_FOUND:
        return "found no `stpa`: install this project on the head node, on the PATH that Ray has"
    lines = (job.message or "").strip().splitlines() or ["Ray does not say why"]
    return f"failed: {lines[-1].removeprefix('error: ')}"
