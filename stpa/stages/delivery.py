"""Deliver notices (`stpa.stages.notices`) by the channels that params.yaml sets, each once."""

import json
import logging
from datetime import UTC, datetime

from pydantic import ValidationError

from stpa.channels import CHANNELS, find_wrong_channels
from stpa.errors import ConfigError, StpaError, first_line, one_line
from stpa.params import load_part
from stpa.params.parts import NoticesParams
from stpa.redaction import redact
from stpa.stages.notices import Notice, Record, records_folder, write_record
from stpa.workspace import Workspace

logger = logging.getLogger(__name__)


def deliver_notices(workspace: Workspace) -> None:
    """Tell all that has not been told yet; call it with the workspace's lock.

    What cannot be delivered is logged, and tried again by the next call: nothing is raised for it.
    """
    records = _read_records(workspace)
    if all(record.channels is not None and _left(record) == [] for record in records):
        return
    try:
        settings = _read_settings(workspace)
    except StpaError as error:
        logger.warning("notices wait until params.yaml is corrected: %s", one_line(error))
        return
    for record in records:
        if record.channels is None:  # before the first try: what is set later is for later notices
            record.channels = tuple(settings)
            write_record(workspace, record)
    for name, setting in settings.items():
        _send_all(workspace, name, setting, [each for each in records if name in _left(each)])


def _read_settings(workspace: Workspace) -> dict[str, str]:
    """Return what params.yaml sets, by the channel's name. Raises ConfigError."""
    notices = load_part(workspace.params, NoticesParams).notices
    if faults := list(find_wrong_channels(notices)):
        raise ConfigError("; ".join(faults))
    return {name: setting for name in CHANNELS if (setting := notices.get(name)) is not None}


def _send_all(workspace: Workspace, name: str, setting: str, records: list[Record]) -> None:
    """Send by one channel, the oldest first, until one fails: the others would wait for it, too."""
    for record in records:
        try:
            CHANNELS[name].send(workspace, setting, _as_line(record.notice))
        except Exception as error:  # a channel's fault costs no retraining
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
