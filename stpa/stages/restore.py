"""Bring back the data of a tracked run."""

import logging
from typing import Any

import yaml
from pydantic import ValidationError

from stpa.config import Config, DataConfig
from stpa.data import versioning
from stpa.data.ingest import SPLIT_RULE, remember_split_rule
from stpa.data.manifest import read_manifest
from stpa.data.transcode import Transcodes
from stpa.data.versioning import DataVersion
from stpa.errors import RegistryError
from stpa.params import load_config
from stpa.registry.lineage import read_data_version
from stpa.registry.tracking import open_tracker
from stpa.workspace import Workspace

WHERE_DATA_LIE = {"source", "remote"}
"""Parameters that may differ: they do not decide what the data are."""

logger = logging.getLogger(__name__)


def restore(workspace: Workspace, config: Config, run_id: str) -> DataVersion:
    """Make the workspace hold exactly the data that a run used.

    Tells where params.yaml would make other data of them. Raises RegistryError for a run that
    is not there or names no data.
    """
    tracker = open_tracker(workspace, config.tracking)
    version = read_data_version(tracker.tags(run_id))
    if version is None:
        raise RegistryError(f"run {run_id} names no data version: give a training or fusion run")
    params = yaml.safe_load(tracker.read_text(run_id, "params.yaml") or "") or {}
    data = _data_then(config.data, params.get("data"), run_id)
    versioning.restore(workspace.root, config.data.remote, version)
    remember_split_rule(workspace, data)
    names = [video.path for video in read_manifest(workspace.manifest).videos]
    Transcodes(workspace.videos, data.transcode, data.decode_deadline_seconds).adopt(names)
    today = load_config(workspace.params).model_dump(mode="json")
    for section in ("data", "optical_flow"):
        then, now = params.get(section, {}), today[section]
        for key in sorted(now.keys() - WHERE_DATA_LIE):
            if now[key] != then.get(key):
                logger.warning(
                    "%s.%s was %r for the data restored, and is %r in params.yaml: "
                    "the next ingest or extraction would change them",
                    *(section, key, then.get(key), now[key]),
                )
    return version


def _data_then(today: DataConfig, then: Any, run_id: str) -> DataConfig:
    """Return the settings of a run's data, which may lack keys that have come since."""
    then = then if isinstance(then, dict) else {}
    known = {key: value for key, value in then.items() if key in DataConfig.model_fields}
    since = today.model_dump(exclude=SPLIT_RULE) | {"transcode": None}
    try:
        return DataConfig.model_validate(since | known)
    except ValidationError as error:
        raise RegistryError(f"run {run_id} does not say how its data were split") from error
