"""Deliver notices (`stpa.stages.notices`): to a webhook, a command or a file, each of them once."""

import json
import logging
import os
import shlex
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from pydantic import ValidationError

from stpa.config import NoticesConfig
from stpa.errors import StpaError, first_line, one_line
from stpa.params import load_part
from stpa.params.parts import NoticesParams
from stpa.redaction import hide_path, redact
from stpa.stages.notices import Notice, Record, records_folder, write_record
from stpa.workspace import Workspace

ANSWER_SECONDS = 10.0
COMMAND_SECONDS = 60.0

Send = Callable[[str], None]
"""Called with a notice as one line of JSON; raises DeliveryError."""

logger = logging.getLogger(__name__)


class DeliveryError(StpaError):
    """A notice did not reach where params.yaml says that it goes."""


def deliver_notices(workspace: Workspace) -> None:
    """Tell all that has not been told yet; call it with the workspace's lock.

    What cannot be delivered is logged, and tried again by the next call: nothing is raised for it.
    """
    records = _read_records(workspace)
    if all(record.channels is not None and _left(record) == [] for record in records):
        return
    try:
        config = load_part(workspace.params, NoticesParams).notices
    except StpaError as error:
        logger.warning("notices wait until params.yaml is corrected: %s", one_line(error))
        return
    channels = _channels(workspace, config)
    for record in records:
        if record.channels is None:  # before the first try: what is set later is for later notices
            record.channels = tuple(channels)
            write_record(workspace, record)
    for name, send in channels.items():
        _send_all(workspace, name, send, [each for each in records if name in _left(each)])


def _send_all(workspace: Workspace, name: str, send: Send, records: list[Record]) -> None:
    """Send by one channel, the oldest first, until one fails: the others would wait for it, too."""
    for record in records:
        try:
            send(_as_line(record.notice))
        except DeliveryError as error:
            logger.warning(
                "%d notice(s) could not be delivered by notices.%s and are tried again at the next "
                "run: %s",
                *(len(_left_by(name, records)), name, redact(one_line(error))),
            )
            return
        record.sent[name] = datetime.now(UTC).isoformat(timespec="seconds")
        write_record(workspace, record)


def _read_records(workspace: Workspace) -> list[Record]:
    records = []
    for path in records_folder(workspace).glob("*.json"):
        try:
            records.append(Record.model_validate_json(path.read_bytes()))
        except (OSError, ValidationError) as error:
            logger.warning("%s is no record of a notice (%s): remove it", path, first_line(error))
    return sorted(records, key=lambda record: (record.notice.time, record.notice.id))


def _left(record: Record) -> list[str]:
    return [name for name in record.channels or () if name not in record.sent]


def _left_by(name: str, records: list[Record]) -> list[Record]:
    return [record for record in records if name in _left(record)]


def _as_line(notice: Notice) -> str:
    return json.dumps(notice.model_dump(mode="json"), ensure_ascii=False)


def _channels(workspace: Workspace, config: NoticesConfig) -> Mapping[str, Send]:
    """Return what params.yaml sets, by its key."""
    senders: dict[str, tuple[str | None, Callable[[Workspace, str, str], None]]] = {
        "webhook": (config.webhook, _post),
        "command": (config.command, _run),
        "file": (config.file, _append),
    }

    def bind(value: str, send: Callable[[Workspace, str, str], None]) -> Send:
        return lambda line: send(workspace, value, line)

    return {name: bind(value, send) for name, (value, send) in senders.items() if value is not None}


def _post(_workspace: Workspace, webhook: str, line: str) -> None:
    address = os.path.expandvars(webhook)
    if not address.startswith(("http://", "https://")):
        raise DeliveryError(f"{webhook} names no http(s) address: set it in the environment")
    headers = {"Content-Type": "application/json; charset=utf-8"}
    request = Request(address, line.encode(), headers, method="POST")
    try:
        with urlopen(request, timeout=ANSWER_SECONDS):
            return
    except HTTPError as error:
        raise DeliveryError(f"{hide_path(address)} answers {error.code} {error.reason}") from error
    except (OSError, HTTPException, ValueError) as error:
        told = one_line(error).replace(address, hide_path(address))
        raise DeliveryError(f"{hide_path(address)} does not answer: {told}") from error


def _run(workspace: Workspace, command: str, line: str) -> None:
    try:
        done = subprocess.run(
            shlex.split(command),
            input=f"{line}\n".encode(),
            cwd=workspace.root,
            capture_output=True,
            timeout=COMMAND_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeliveryError(f"`{command}`: {one_line(error)}") from error
    if done.returncode:
        told = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise DeliveryError(f"`{command}` exits with {done.returncode}: {''.join(told)}")


def _append(workspace: Workspace, file: str, line: str) -> None:
    path = workspace.root / file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            stream.write(f"{line}\n")
    except OSError as error:
        raise DeliveryError(f"{path}: {one_line(error)}") from error
