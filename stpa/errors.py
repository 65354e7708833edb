"""The exception tree. Every error a person can cause or mend is an `StpaError`.

The command line prints one line for an `StpaError` and exits non-zero; any other
exception is a fault in this project.
"""


class StpaError(ValueError):
    """Say what was wanted, what came, where, and what to do, in one line."""


class ConfigError(StpaError):
    """A params file cannot be read, or has keys that are unknown or out of range."""


class DataError(StpaError):
    """Videos, labels, splits or stored optical flow are missing or unusable."""


class VersioningError(StpaError):
    """DVC refused or lost something, or its remote cannot be reached."""


class ModelError(StpaError):
    """A backbone, weights file or checkpoint cannot be used."""


class RegistryError(StpaError):
    """The tracking server or the model registry lacks what was asked for."""


class ComputeError(StpaError):
    """The Ray cluster cannot be reached, is too small, or lost its workers for good."""
