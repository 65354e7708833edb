"""Bring a workspace of an older stpa up to date."""

import logging

from stpa.files import back_up, write_text
from stpa.params import find_changes, find_faults, read_workspace, settle_estimator, upgrade
from stpa.stages.initialise import Initialised, write_pipeline
from stpa.workspace import Workspace

logger = logging.getLogger(__name__)


def upgrade_workspace(workspace: Workspace) -> Initialised:
    """Bring params.yaml to the current format, and dvc.yaml to this stpa's; keep the old files.

    Errors in params.yaml are left as they are, and logged.
    """
    document = read_workspace(workspace.params)
    before = document.values
    upgrade(document, workspace.params)
    changes = tuple(find_changes(before, document.values))
    backups = (back_up(workspace.params),) if changes else ()
    if changes:
        write_text(workspace.params, document.text(document.head))
    params = document.values
    settle_estimator(params, workspace)
    if faults := find_faults(params):
        logger.warning("%s has errors to correct: %s", workspace.params, "; ".join(faults))
    return Initialised(None, changes, (*backups, *write_pipeline(workspace)))
