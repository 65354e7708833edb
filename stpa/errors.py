"""The exception tree. Every error a person can cause or mend is an `StpaError`.

The command line prints one line for an `StpaError` and exits non-zero; any other
exception is a fault in this project.
"""


class StpaError(ValueError):
    """Say what was wanted, what came, where, and what to do, in one line."""

    transient = False
    """Whether time alone may mend it, so that the same call is worth repeating."""


class ConfigError(StpaError):
    """A params file cannot be read, or has keys that are unknown or out of range."""


class UsageError(ConfigError):
    """The arguments of a command name nothing, or contradict each other."""


class DataError(StpaError):
    """Videos, labels, splits or stored optical flow are missing or unusable."""


class VersioningError(StpaError):
    """DVC refused or lost something."""


class RemoteError(VersioningError):
    """DVC's remote cannot be reached, or did not take or give all that it was asked to."""

    transient = True


class ModelError(StpaError):
    """A backbone, weights file or checkpoint cannot be used."""


class RegistryError(StpaError):
    """The tracking server or the model registry lacks what was asked for."""


class RegistryUnavailableError(RegistryError):
    """The tracking server does not answer, or fails by itself."""

    transient = True


class ComputeError(StpaError):
    """The cluster is too small or lost its workers for good, or a workspace or port is in use."""


class BusyError(ComputeError):
    """Another process is at work in the workspace."""


class LostWorkersError(ComputeError):
    """A training lost more of its processes than it may."""


class InterruptedTrainingError(ComputeError):
    """Work has been left with a checkpoint, as asked."""


class ClusterUnavailableError(ComputeError):
    """Nobody answers at the Ray cluster's address."""

    transient = True


def one_line(error: BaseException) -> str:
    """Return the whole message of an error, whoever raised it, as one line."""
    return " ".join(str(error).split())


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or what kind of error it is if it says none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
