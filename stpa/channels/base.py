"""What a channel for notices is."""

from abc import ABC, abstractmethod

from stpa.errors import StpaError
from stpa.workspace import Workspace


class DeliveryError(StpaError):
    """A notice did not reach where params.yaml says that it goes."""


class Channel(ABC):
    """A way for notices out of the pipeline, set by a text: `notices.NAME` in params.yaml."""

    @abstractmethod
    def check(self, setting: str) -> None:
        """Raise ValueError, which says what follows the setting's name, if it cannot work."""

    @abstractmethod
    def send(self, workspace: Workspace, setting: str, line: str) -> None:
        """Tell a notice, given as one line of JSON. Raises DeliveryError, to be asked again."""
