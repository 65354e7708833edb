"""What progress looks like on a terminal, and where no bar can be drawn."""

import logging
from io import StringIO

import pytest
from rich.console import Console

from stpa import terminal
from stpa.progress import NO_DETAILS, Details
from stpa.terminal import ON_TERMINAL, Terminal, log_to_terminal

DETAILS = {
    "epoch": "12/16",
    "step": "13/128",
    "loss": "0.912",
    "training accuracy": "0.71",
    "clips/s": "14.2",
    "time left": "4 min",
}


def make_terminal(*, to_terminal: bool, width: int) -> Terminal:
    screen = Terminal()
    screen.console = Console(file=StringIO(), force_terminal=to_terminal, width=width)
    return screen


def printed(screen: Terminal) -> str:
    return screen.console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def shown(*, to_terminal: bool, details: Details = NO_DETAILS) -> str:
    screen = make_terminal(to_terminal=to_terminal, width=20)
    with screen.bar("train [rgb] with a long name") as progress:
        for done in (1, 2, 3):
            progress(done, 3, details)
    return printed(screen)


def test_off_a_terminal_progress_is_plain_lines(monkeypatch):
    monkeypatch.setattr(terminal, "SECONDS_BETWEEN_LINES", 0.0)
    first, second, *_done = shown(to_terminal=False).splitlines()
    assert first == "train [rgb] with a long name: 1/3"
    assert second == "train [rgb] with a long name: 2/3"


def test_off_a_terminal_details_are_in_the_line(monkeypatch):
    monkeypatch.setattr(terminal, "SECONDS_BETWEEN_LINES", 0.0)
    first, _second, done = shown(to_terminal=False, details=DETAILS).splitlines()
    assert first == (
        "train [rgb] with a long name: epoch 12/16, step 13/128, loss 0.912, "
        "training accuracy 0.71, clips/s 14.2, time left 4 min"
    )
    assert done == "done train [rgb] with a long name (0 s)"


@pytest.mark.parametrize("to_terminal", [False, True])
def test_no_line_comes_before_its_time_or_beside_a_bar(monkeypatch, to_terminal):
    monkeypatch.setattr(terminal, "SECONDS_BETWEEN_LINES", 0.0 if to_terminal else 60.0)
    assert "name: " not in shown(to_terminal=to_terminal)


@pytest.mark.parametrize(
    ("width", "is_wide"),
    [
        pytest.param(80, True, id="80 columns"),
        pytest.param(120, True, id="120 columns"),
        pytest.param(60, False, id="60 columns"),
    ],
)
def test_networks_that_train_at_once_have_a_line_each_under_names_of_columns(width, is_wide):
    screen = make_terminal(to_terminal=True, width=width)
    with screen.bar("train rgb stpa, 1 of 4") as rgb, screen.bar("train flow stpa, 2 of 4") as flow:
        rgb(60, 120, DETAILS)
        flow(60, 120, DETAILS | {"epoch": "2/16"})
        assert screen._bars is not None
        paper = Console(file=StringIO(), width=width)
        paper.print(screen._bars.get_renderable())
    *heads, rgb_line, flow_line = printed_on(paper).splitlines()
    assert rgb_line.startswith("train rgb stpa, 1 of 4")
    assert flow_line.startswith("train flow stpa, 2 of 4")
    if is_wide:
        assert "━" in rgb_line
        for value in DETAILS.values():
            assert f" {value} " in f"{rgb_line} "
        words = " ".join(heads).split()
        assert sorted(words) == sorted(" ".join(DETAILS).split())


def printed_on(paper: Console) -> str:
    return paper.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_work_without_details_keeps_its_count_and_times():
    screen = make_terminal(to_terminal=True, width=100)
    with screen.bar("extract optical flow") as progress:
        progress(3, 8)
        assert screen._bars is not None
        paper = Console(file=StringIO(), width=100)
        paper.print(screen._bars.get_renderable())
    [line] = printed_on(paper).splitlines()
    assert line.startswith("extract optical flow ━")
    assert "3/8 0:00:00" in line


def test_a_record_of_what_the_terminal_shows_already_is_not_shown_again(monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="stpa")  # and back at the end
    screen = make_terminal(to_terminal=False, width=80)
    monkeypatch.setattr(terminal, "TERMINAL", screen)
    root = logging.getLogger()
    before = root.handlers[:]
    root.handlers = []
    try:
        log_to_terminal(debug=False)
        logging.getLogger("stpa.x").warning("once", extra=ON_TERMINAL)
        logging.getLogger("stpa.x").warning("news")
    finally:
        root.handlers = before
    assert "once" not in printed(screen)
    assert "news" in printed(screen)
