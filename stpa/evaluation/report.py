"""The report of one retraining: a single HTML page that needs nothing but a browser."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from stpa.evaluation.figures import draw_confusion, draw_sweep, embed
from stpa.evaluation.fusion import FUSED
from stpa.evaluation.metrics import correct, mean_class_accuracy, top1, top5
from stpa.evaluation.scores import Scores
from stpa.evaluation.significance import (
    CONFIDENCE,
    Interval,
    PairedComparison,
    compare_paired,
    wilson_interval,
)
from stpa.files import write_text


@dataclass(frozen=True)
class Reason:
    """One promotion rule's verdict."""

    rule: str
    passed: bool
    text: str


@dataclass(frozen=True)
class Report:
    """What the page tells. Every set of scores is of the same videos in the same order."""

    title: str
    scores: Sequence[Scores]
    """Of each stream and of their fusion, for each head."""
    candidate_head: str
    """The head whose fused scores stood for promotion."""
    num_segments: int
    """K of the headline figures."""
    late_fusion: str
    decision: str
    promoted: bool
    reasons: Sequence[Reason]
    data_version: str
    git_commit: str
    parameters: str
    """As text, whole."""
    seed: int
    """Of the bootstrap."""

    @property
    def candidate(self) -> Scores:
        """The fused scores that stood for promotion."""
        return next(
            scores
            for scores in self.scores
            if (scores.stream, scores.head) == (FUSED, self.candidate_head)
        )


@dataclass(frozen=True)
class Accuracy:
    """A row of the table of results."""

    stream: str
    head: str
    top1: float
    interval: Interval
    mean_class: float
    top5: float


@dataclass(frozen=True)
class HeadComparison:
    """A row of the table of heads: the candidate's against another on the same stream."""

    stream: str
    head: str
    paired: PairedComparison


def write_report(path: Path, report: Report) -> None:
    """Write the page, atomically."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("stpa.evaluation", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}"
    page = environment.get_template("report.html.jinja").render(
        report=report,
        candidate=report.candidate,
        accuracies=[_accuracy(scores, report.num_segments) for scores in report.scores],
        comparisons=compare_heads(report),
        confidence=CONFIDENCE,
        sweep_figure=embed(draw_sweep(report.scores)),
        confusion_figure=embed(draw_confusion(report.candidate, report.num_segments)),
    )
    write_text(path, page)


def _accuracy(scores: Scores, num_segments: int) -> Accuracy:
    logits = scores.at(num_segments)
    return Accuracy(
        stream=scores.stream,
        head=scores.head,
        top1=top1(logits, scores.labels),
        interval=wilson_interval(correct(logits, scores.labels)),
        mean_class=mean_class_accuracy(logits, scores.labels),
        top5=top5(logits, scores.labels),
    )


def compare_heads(report: Report) -> list[HeadComparison]:
    """Compare the candidate's head with every other, stream by stream."""
    right = {
        (scores.stream, scores.head): correct(scores.at(report.num_segments), scores.labels)
        for scores in report.scores
    }
    return [
        HeadComparison(
            stream,
            head,
            compare_paired(right[stream, report.candidate_head], rights, report.seed),
        )
        for (stream, head), rights in right.items()
        if head != report.candidate_head and (stream, report.candidate_head) in right
    ]
