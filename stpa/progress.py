"""How long work reports its progress: a callback, drawn as a bar, an artifact, or not at all."""

from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol, runtime_checkable

PACE_SECONDS = 60.0
"""How far back a pace looks: long enough for an even number, short enough to follow a change."""

Details = Mapping[str, str]
"""What else there is to say of work that goes on, each value by its name, in order."""

NO_DETAILS: Details = MappingProxyType({})


@runtime_checkable
class ReportProgress(Protocol):
    """A callback for each finished piece of work."""

    def __call__(self, done: int, total: int, details: Details = NO_DETAILS, /) -> None:
        """Report that `done` pieces of `total` are finished."""
        ...


def silent(done: int, total: int, details: Details = NO_DETAILS, /) -> None:
    """Report nothing."""


def describe(done: int, total: int, details: Details) -> str:
    """Return a report as text: its details or, where it has none, its numbers."""
    return ", ".join(f"{name} {value}" for name, value in details.items()) or f"{done}/{total}"


def format_duration(seconds: float) -> str:
    """Return a duration to two digits or so: 45 s, 4 min, 5.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


class Pace:
    """How fast work goes, by its reports of the last minute, and how long it still takes."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()
        """Times, in seconds, and the pieces that were done then."""

    def add(self, seconds: float, done: int) -> None:
        """Count a report; one of fewer pieces than the last begins again, as after a restart."""
        if self._marks and done < self._marks[-1][1]:
            self._marks.clear()
        if not self._marks or done > self._marks[-1][1]:
            self._marks.append((seconds, done))
        while len(self._marks) > 2 and seconds - self._marks[1][0] > PACE_SECONDS:
            self._marks.popleft()

    @property
    def per_second(self) -> float | None:
        """Pieces per second; None before there are two reports to compare."""
        if len(self._marks) < 2:
            return None
        (start, done_then), (end, done_now) = self._marks[0], self._marks[-1]
        return (done_now - done_then) / (end - start) if end > start else None

    def seconds_for(self, pieces: int) -> float | None:
        """Return how long so many more pieces take; None as above."""
        per_second = self.per_second
        return None if per_second is None else pieces / per_second
