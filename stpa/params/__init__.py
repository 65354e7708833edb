"""params.yaml: read and checked into a `Config`, written with its comments, upgraded."""

from stpa.params.changes import Change, find_changes
from stpa.params.check import check_params, find_faults, find_misshapes
from stpa.params.document import EXTENDS, Document, read_document, value_at
from stpa.params.load import (
    load_config,
    load_part,
    read_mapping,
    read_params,
    read_workspace,
    settle_estimator,
)
from stpa.params.upgrade import require_current, upgrade

__all__ = [
    "EXTENDS",
    "Change",
    "Document",
    "check_params",
    "find_changes",
    "find_faults",
    "find_misshapes",
    "load_config",
    "load_part",
    "read_document",
    "read_mapping",
    "read_params",
    "read_workspace",
    "require_current",
    "settle_estimator",
    "upgrade",
    "value_at",
]
