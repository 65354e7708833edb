"""How long work reports its progress: a callback, drawn as a bar, an artifact, or not at all."""

from collections.abc import Callable

ReportProgress = Callable[[int, int], None]
"""Called with (done, total) after each finished piece of work."""


def silent(done: int, total: int) -> None:
    """Report nothing."""
