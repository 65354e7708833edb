"""Bring back the data of a tracked run."""

import logging
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from stpa.config import DataConfig, OpticalFlowConfig, SplitConfig, TranscodeConfig
from stpa.data import versioning
from stpa.data.ingest import remember_split_rule
from stpa.data.manifest import read_manifest
from stpa.data.transcode import Transcodes
from stpa.data.versioning import DataVersion
from stpa.errors import RegistryError
from stpa.params import read_params, settle_estimator, value_at
from stpa.params.parts import RestoreParams
from stpa.registry.lineage import read_data_version
from stpa.registry.tracking import open_tracker
from stpa.workspace import Workspace

WHERE_DATA_LIE = {"source", "remote"}
"""Parameters that may differ: they do not decide what the data are."""

_TRANSCODE = TypeAdapter(TranscodeConfig | None)

logger = logging.getLogger(__name__)


def restore(workspace: Workspace, params: RestoreParams, run_id: str) -> DataVersion:
    """Make the workspace hold exactly the data that a run used.

    Tells where params.yaml would make other data of them. Raises RegistryError for a run that
    is not there or names no data.
    """
    tracker = open_tracker(workspace, params.tracking)
    version = read_data_version(tracker.tags(run_id))
    if version is None:
        raise RegistryError(f"run {run_id} names no data version: give a training or fusion run")
    then = yaml.safe_load(tracker.read_text(run_id, "params.yaml") or "") or {}
    split, transcode = _made_by(then, run_id)
    versioning.restore(workspace.root, params.data.remote, version)
    remember_split_rule(workspace, split)
    names = [video.path for video in read_manifest(workspace.manifest).videos]
    Transcodes(workspace.videos, transcode, params.data).adopt(names)
    _tell_differences(workspace, then)
    return version


def _made_by(then: Any, run_id: str) -> tuple[SplitConfig, TranscodeConfig | None]:
    """Return how a run's videos were split and transcoded, by the parameters that it recorded."""
    transcode = value_at(then, "data", "transcode")  # None of the first runs, which knew of none
    split = {key: value_at(then, "data", key) for key in SplitConfig.model_fields}
    try:
        return SplitConfig.model_validate(split), _TRANSCODE.validate_python(transcode)
    except ValidationError as error:
        raise RegistryError(f"run {run_id} does not say how its data were split") from error


def _tell_differences(workspace: Workspace, then: Any) -> None:
    """Warn of what params.yaml, which may have errors, says otherwise than the run's parameters."""
    params = read_params(workspace.params)
    settle_estimator(params, workspace)
    for section, model in (("data", DataConfig), ("optical_flow", OpticalFlowConfig)):
        for key in sorted(model.model_fields.keys() - WHERE_DATA_LIE):
            before, now = value_at(then, section, key), value_at(params, section, key)
            if now != before:
                logger.warning(
                    "%s.%s was %r for the data restored, and is %r in params.yaml: "
                    "the next ingest or extraction would change them",
                    *(section, key, before, now),
                )
