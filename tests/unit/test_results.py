"""What a retraining says at its end."""

import sys
from pathlib import Path

import pytest

from stpa.evaluation.confusions import Agreement, ConfusedPair, StreamComparison
from stpa.registry.promotion import Decision, Outcome
from stpa.registry.rules import Verdict
from stpa.results import show_summary
from stpa.stages.summarise import Summary
from stpa.workspace import Workspace

COMPARISON = StreamComparison(
    class_order=(0, 1),
    confusions={},
    pairs={"rgb": [ConfusedPair("[red]", "b", 0.41)] * 5, "flow": [], "fused": []},
    agreement=[Agreement((True, False), 12, 10)],
)


def decision(outcome: Outcome, *verdicts: Verdict, champion: int | None = 1) -> Decision:
    return Decision(outcome, champion, None, verdicts)


def say(
    decided: Decision,
    capsys: pytest.CaptureFixture[str],
    comparison: StreamComparison | None = None,
) -> list[str]:
    """Return the lines for a workspace `my ws` after a decision."""
    summary = Summary(
        num_segments=3,
        headline="top1",
        figures={"stpa": {"rgb": 0.3, "flow": 0.4, "fused": 0.8}},
        candidate_head="stpa",
        candidate_reason="it is ahead",
        fusion="average_logits",
        k_sweep={},
        decision=decided,
        data_version="d",
        seconds=1.0,
        stream_comparison=comparison,
        example=Path("my ws/data/videos/a.avi"),
        report_address=None,
    )
    show_summary(Workspace(Path("my ws")), summary)
    return capsys.readouterr().out.splitlines()


@pytest.fixture(autouse=True)
def _program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["envs/bin/stpa"])
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


@pytest.mark.parametrize("outcome", [Outcome.PROMOTED, Outcome.UNCHANGED])
def test_a_retraining_ends_with_what_to_run_next(outcome, capsys):
    lines = say(decision(outcome), capsys)
    assert lines[-6:] == [
        "try the champion on a test clip:",
        "  envs/bin/stpa predict 'my ws/data/videos/a.avi' -w 'my ws'",
        "look at runs and models:",
        "  envs/bin/stpa ui -w 'my ws'",
        "read the report, in a browser:",
        "  my ws/report/index.html",
    ]


def test_a_rejected_challenger_comes_with_advice_and_can_be_tried(capsys):
    failed = Verdict("above_chance", False, "0.1 [bold]", "Add clips of [more] recordings.")
    rejected = decision(Outcome.REJECTED, Verdict("known", True, "all"), failed, champion=None)
    lines = say(rejected, capsys)
    assert "rejected: nothing is served yet" in lines
    assert "above_chance: Add clips of [more] recordings." in lines
    assert not any(line.startswith("known:") for line in lines)
    assert "  envs/bin/stpa predict 'my ws/data/videos/a.avi' --challenger -w 'my ws'" in lines


def test_streams_are_told_by_what_they_mix_up_and_by_what_fusion_adds(capsys):
    said = " ".join(" ".join(say(decision(Outcome.PROMOTED), capsys, COMPARISON)).split())
    assert said.count("│ rgb │ [red], b │ 0.41 │") == 2
    assert "│ right │ wrong │ 12 │ 10 │" in said
    assert "mixed up" not in " ".join(say(decision(Outcome.PROMOTED), capsys))
