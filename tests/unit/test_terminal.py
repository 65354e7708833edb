"""What progress looks like where no bar can be drawn."""

from io import StringIO

import pytest
from rich.console import Console

from stpa import terminal
from stpa.terminal import Terminal


def shown(*, to_terminal: bool) -> str:
    screen = Terminal()
    screen.console = Console(file=StringIO(), force_terminal=to_terminal, width=20)
    with screen.bar("train rgb with a long name") as progress:
        for done in (1, 2, 3):
            progress(done, 3)
    return screen.console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_off_a_terminal_progress_is_plain_lines(monkeypatch):
    monkeypatch.setattr(terminal, "SECONDS_BETWEEN_LINES", 0.0)
    first, second, *_done = shown(to_terminal=False).splitlines()
    assert first == "train rgb with a long name: 1/3"
    assert second == "train rgb with a long name: 2/3"


@pytest.mark.parametrize("to_terminal", [False, True])
def test_no_line_comes_before_its_time_or_beside_a_bar(monkeypatch, to_terminal):
    monkeypatch.setattr(terminal, "SECONDS_BETWEEN_LINES", 0.0 if to_terminal else 60.0)
    assert "name: " not in shown(to_terminal=to_terminal)
