"""What a person sees in a terminal: progress bars that share it, and log lines above them."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from stpa.progress import ReportProgress

SECONDS_BETWEEN_LINES = 10.0
"""Off a terminal, where no bar can be drawn."""


class Terminal:
    """One console, and the bars of all the work that goes on at the same time."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self._lock = threading.Lock()
        self._bars: Progress | None = None
        self._num_open = 0

    @contextmanager
    def bar(self, description: str) -> Iterator[ReportProgress]:
        """Draw a progress bar while the block runs; off a terminal, print a line now and then."""
        started = said = time.monotonic()
        bars = self._open()
        task = bars.add_task(description, total=None)

        def report(done: int, total: int) -> None:
            nonlocal said
            bars.update(task, completed=done, total=total)
            overdue = time.monotonic() - said >= SECONDS_BETWEEN_LINES
            if overdue and done < total and not self.console.is_terminal:
                self.console.print(f"{description}: {done}/{total}", soft_wrap=True)
                said = time.monotonic()

        try:
            yield report
        finally:
            bars.remove_task(task)
            self._close()
        self.console.print(f"[green]done[/] {description} ({time.monotonic() - started:.0f} s)")

    def _open(self) -> Progress:
        with self._lock:
            if self._bars is None:
                self._bars = Progress(
                    TextColumn("{task.description}"),
                    BarColumn(),
                    MofNCompleteColumn(),
                    TimeElapsedColumn(),
                    TimeRemainingColumn(),
                    console=self.console,
                    transient=True,
                )
                if self.console.is_terminal:
                    self._bars.start()
            self._num_open += 1
            return self._bars

    def _close(self) -> None:
        with self._lock:
            self._num_open -= 1
            if self._num_open == 0 and self._bars is not None:
                if self.console.is_terminal:
                    self._bars.stop()
                self._bars = None


TERMINAL = Terminal()


def log_to_terminal(debug: bool) -> None:
    """Show this project's log above the bars; with `debug`, other libraries' warnings too.

    Without, Prefect and Ray would tell each fault several times over, with tracebacks.
    """
    handler = RichHandler(console=TERMINAL.console, show_path=debug, show_time=False)
    if not debug:
        handler.addFilter(logging.Filter("stpa"))
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    logging.getLogger("stpa").setLevel(logging.DEBUG if debug else logging.INFO)
