"""How benchmarks compare and report."""

import json
from collections.abc import Callable

import pytest

from benchmarks.measure import Figure, Setting, Times, compare, figure, report, time_figures
from stpa.errors import ComputeError
from stpa.progress import silent

CPU = Setting("cpu", "float32")


def test_ratio_is_that_of_neighbours_on_a_machine_that_slows_down() -> None:
    peer = [1.0, 2.0, 4.0, 8.0]
    ours = [1.5, 3.0, 6.0]  # between its neighbours, each of which is as far off
    found = figure("", ours, peer, bound=None, unit="s")
    assert found.ratio == pytest.approx((1.5 + 0.75) / 2)
    assert found.spread == pytest.approx((0.75, 1.5))


def test_one_run_of_each_gives_a_ratio() -> None:
    assert figure("", [3.0], [2.0], bound=None, unit="s").ratio == 1.5


def test_work_and_its_peer_take_turns() -> None:
    turns: list[str] = []

    def take(name: str) -> Callable[[], None]:
        return lambda: turns.append(name)

    compare("", take("work"), take("peer"), bound=1, repeats=2, setting=CPU, progress=silent)
    assert turns == ["peer", "work", "peer", "work", "peer", "work", "peer"]


def test_bound_is_on_wall_time_alone() -> None:
    wall, processor = time_figures("", [Times(2.0, 9.0)], [Times(1.0, 3.0)], bound=1.1, setting=CPU)
    assert (wall.ratio, wall.bound) == (2.0, 1.1)
    assert (processor.ratio, processor.bound) == (3.0, None)


def test_last_line_of_a_report_is_its_first_figure(capsys: pytest.CaptureFixture[str]) -> None:
    first = Figure("a", 1.02, (1.0, 1.1), 1.05, 2.04, 2.0, "s")
    second = Figure("b", 3.0, (3.0, 3.0), None, 3.0, 1.0, "s")
    report("overhead", [first, second], CPU, videos=4)
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (record["benchmark"], record["ratio"], record["bound"]) == ("overhead", 1.02, 1.05)
    assert [each["name"] for each in record["figures"]] == ["a", "b"]
    assert record["videos"] == 4


def test_missing_gpu_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert Setting.choose(None, "float32").device == "cpu"
    with pytest.raises(ComputeError, match="no GPU here: take --device cpu"):
        Setting.choose("cuda", "float32")
