"""What a person sees in a terminal: progress bars that share it, and log lines above them."""

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.logging import RichHandler
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from stpa.progress import NO_DETAILS, Details, ReportProgress, describe

SECONDS_BETWEEN_LINES = 10.0
"""Off a terminal, where no bar can be drawn."""
_BAR_WIDTH = 40

ON_TERMINAL = {"is_on_terminal": True}
"""Extra of records that the terminal shows in another way, for handlers beside it."""

logger = logging.getLogger(__name__)


class Terminal:
    """One console, and the bars of all the work that goes on at the same time."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self._lock = threading.Lock()
        self._bars: _Bars | None = None
        self._num_open = 0

    @contextmanager
    def bar(self, description: str) -> Iterator[ReportProgress]:
        """Draw a progress bar while the block runs; off a terminal, print a line now and then."""
        started = said = time.monotonic()
        bars = self._open()
        task = bars.add_task(description, total=None)

        def report(done: int, total: int, details: Details = NO_DETAILS, /) -> None:
            nonlocal said
            bars.update(task, completed=done, total=total, details=details)
            overdue = time.monotonic() - said >= SECONDS_BETWEEN_LINES
            if overdue and done < total and not self.console.is_terminal:
                line = f"{description}: {describe(done, total, details)}"
                self.console.print(escape(line), soft_wrap=True)
                said = time.monotonic()

        try:
            yield report
        finally:
            bars.remove_task(task)
            self._close()
        line = f"{description} ({time.monotonic() - started:.0f} s)"
        self.console.print(f"[green]done[/] {escape(line)}", soft_wrap=True)
        logger.info("done %s", line, extra=ON_TERMINAL)

    def _open(self) -> "_Bars":
        with self._lock:
            if self._bars is None:
                self._bars = _Bars(self.console)
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


class _Bars(Progress):
    """Bars one below the other; the details of work have columns of their own."""

    def __init__(self, console: Console) -> None:
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(_BAR_WIDTH),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return what is drawn, from top to bottom."""
        detailed = [task for task in self.tasks if task.fields.get("details")]
        yield self.make_tasks_table([task for task in self.tasks if task not in detailed])
        if detailed:
            yield _details_table(detailed)


def _details_table(tasks: Iterable[Task]) -> Table:
    """Return a row per task, with a column for each name among its details.

    The bar takes what room the others leave.
    """
    names = dict.fromkeys(name for task in tasks for name in task.fields["details"])
    bar = BarColumn(bar_width=None)
    table = Table(
        Column(no_wrap=True),
        Column(ratio=1, max_width=_BAR_WIDTH),
        *[Column(name, justify="right") for name in names],
        box=None,
        padding=(0, 1, 0, 0),
        header_style="dim",
    )
    for task in tasks:
        values = [Text(task.fields["details"].get(name, ""), no_wrap=True) for name in names]
        table.add_row(Text(task.description), bar(task), *values)
    return table


TERMINAL = Terminal()


def log_to_terminal(debug: bool) -> None:
    """Show this project's log above the bars; with `debug`, other libraries' warnings too.

    Without, Prefect and Ray would tell each error several times over, with tracebacks.
    """
    handler = RichHandler(console=TERMINAL.console, show_path=debug, show_time=False)
    handler.addFilter(lambda record: not getattr(record, "is_on_terminal", False))
    if not debug:
        handler.addFilter(logging.Filter("stpa"))
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    logging.getLogger("stpa").setLevel(logging.DEBUG if debug else logging.INFO)
