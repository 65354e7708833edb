"""The report of one retraining: a single HTML page that needs nothing but a browser."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jinja2
from matplotlib.figure import Figure

from stpa.evaluation.figures import (
    draw_average_precisions,
    draw_confusion,
    draw_sweep,
    embed,
)
from stpa.evaluation.fusion import FUSED
from stpa.evaluation.judging import TITLES
from stpa.evaluation.scores import Scores
from stpa.evaluation.significance import CONFIDENCE, Gain, Interval
from stpa.files import write_text


@dataclass(frozen=True)
class Reason:
    """One promotion rule's verdict."""

    rule: str
    passed: bool
    text: str


@dataclass(frozen=True)
class HeadComparison:
    """A row of the table of heads: the candidate's against another on the same stream."""

    stream: str
    head: str
    paired: Gain


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

    @cached_property  # mean average precisions take minutes to compare
    def comparisons(self) -> list[HeadComparison]:
        """The candidate's head against every other, stream by stream."""
        head, k, labels = self.candidate_head, self.num_segments, self.candidate.labels
        compare = self.candidate.judging.compare
        logits = {(scores.stream, scores.head): scores.at(k) for scores in self.scores}
        return [
            HeadComparison(stream, other, compare(logits[stream, head], others, labels, self.seed))
            for (stream, other), others in logits.items()
            if other != head and (stream, head) in logits
        ]


@dataclass(frozen=True)
class Accuracy:
    """A row of the table of results."""

    stream: str
    head: str
    figures: Mapping[str, float]
    """By their names in `TITLES`, the headline first."""
    interval: Interval
    """Of the headline."""


@dataclass(frozen=True)
class ClassPicture:
    """What is drawn of the candidate class by class."""

    heading: str
    alternative: str
    """To the picture, for who cannot see it."""
    draw: Callable[[Scores, int], Figure]
    """From scores and K."""


_CONFUSION = ClassPicture("What is taken for what", "Confusion matrix", draw_confusion)
_BARS = ClassPicture(
    "Average precision by class", "Average precision by class", draw_average_precisions
)


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
    candidate, k = report.candidate, report.num_segments
    class_picture = _BARS if candidate.multi_label else _CONFUSION
    page = environment.get_template("report.html.jinja").render(
        report=report,
        candidate=candidate,
        judging=candidate.judging,
        titles=TITLES,
        accuracies=[_accuracy(scores, report) for scores in report.scores],
        comparisons=report.comparisons,
        confidence=CONFIDENCE,
        sweep_figure=embed(draw_sweep(report.scores)),
        class_picture=class_picture,
        class_figure=embed(class_picture.draw(candidate, k)),
    )
    write_text(path, page)


def _accuracy(scores: Scores, report: Report) -> Accuracy:
    logits = scores.at(report.num_segments)
    return Accuracy(
        stream=scores.stream,
        head=scores.head,
        figures=scores.figures(report.num_segments),
        interval=scores.judging.interval(logits, scores.labels, report.seed),
    )
