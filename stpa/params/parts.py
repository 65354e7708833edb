"""The parts of params.yaml that commands read which need little of it.

They work on a workspace of an earlier format, and whatever is wrong with the rest of the file.
"""

from stpa.config import (
    DecodeConfig,
    Notices,
    RegisteredConfig,
    Section,
    StoreConfig,
    TrackingConfig,
)


class PagesParams(Section):
    """What `stpa ui` reads."""

    tracking: TrackingConfig


class RollbackParams(PagesParams):
    """What `stpa rollback` reads."""

    promotion: RegisteredConfig


class NoticesParams(Section):
    """What delivering notices reads."""

    notices: Notices


class PredictParams(RollbackParams):
    """What `stpa predict` reads."""

    data: DecodeConfig


class RestoreParams(PagesParams):
    """What `stpa data restore` reads."""

    data: StoreConfig
