"""The report of one retraining: a single HTML page that needs nothing but a browser."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jinja2
import numpy as np
from matplotlib.figure import Figure

from stpa.evaluation.confusions import StreamComparison, compare_streams
from stpa.evaluation.examples import Example
from stpa.evaluation.figures import (
    draw_average_precisions,
    draw_confusion,
    draw_probabilities,
    draw_sweep,
    embed_photos,
    embed_plot,
)
from stpa.evaluation.fusion import STREAM_TITLES
from stpa.evaluation.judging import TITLES
from stpa.evaluation.picture import draw_prediction
from stpa.evaluation.scores import Scores
from stpa.evaluation.significance import CONFIDENCE, Gain, Interval
from stpa.files import write_text


@dataclass(frozen=True)
class Reason:
    """One promotion rule's verdict."""

    rule: str
    passed: bool
    text: str
    advice: str
    """What to do where the rule was not passed."""


@dataclass(frozen=True)
class TrainingProblem:
    """Something that kept a network from learning, or may have."""

    stream: str
    head: str
    text: str
    """What was seen, and what to change."""
    has_learnt: bool
    """False: the network knows nothing."""


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
    candidate_reason: str
    """Why that head did."""
    num_segments: int
    """K of the headline figures."""
    late_fusion: str
    decision: str
    rejected: bool
    reasons: Sequence[Reason]
    training_problems: Sequence[TrainingProblem]
    """Of all trained networks."""
    data_version: str
    git_commit: str
    parameters: str
    """As text, whole."""
    seed: int
    """Of the bootstrap."""
    examples: Sequence[Example]
    """Test videos to show with the candidate's predictions."""

    @property
    def streams(self) -> list[Scores]:
        """The scores of the candidate's head, by stream; the fused ones last."""
        by_stream = {
            scores.stream: scores for scores in self.scores if scores.head == self.candidate_head
        }
        return [by_stream[stream] for stream in STREAM_TITLES if stream in by_stream]

    @property
    def candidate(self) -> Scores:
        """The fused scores that stood for promotion."""
        return self.streams[-1]

    @cached_property
    def stream_comparison(self) -> StreamComparison | None:
        """What the candidate's streams can tell apart; None where videos have several labels."""
        if self.candidate.multi_label:
            return None
        *streams, fused = self.streams
        return compare_streams(streams, fused, self.num_segments)

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
class ShownExample:
    """A test video's prediction, as the page shows it."""

    caption: str
    right: bool
    picture: str
    """As an address that holds the image itself."""


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
    candidate = report.candidate
    page = environment.get_template("report.html.jinja").render(
        report=report,
        candidate=candidate,
        judging=candidate.judging,
        titles=TITLES,
        stream_titles=STREAM_TITLES,
        accuracies=[_accuracy(scores, report) for scores in report.scores],
        comparisons=report.comparisons,
        streams=report.stream_comparison,
        confidence=CONFIDENCE,
        sweep_plot=embed_plot(draw_sweep(report.scores)),
        class_plot=embed_plot(_draw_classes(report)),
        stream_plots=_stream_plots(report),
        examples=[_show(example) for example in report.examples],
    )
    write_text(path, page)


def _draw_classes(report: Report) -> Figure:
    if report.stream_comparison is None:
        return draw_average_precisions(report.streams, report.num_segments)
    order = report.stream_comparison.class_order
    return draw_confusion(report.candidate, report.num_segments, order)


def _stream_plots(report: Report) -> list[str]:
    """Return a plot of each stream's confusion, all with the classes in one order."""
    found = report.stream_comparison
    if found is None:
        return []
    names = [report.candidate.class_names[index] for index in found.class_order]
    ordered = np.ix_(found.class_order, found.class_order)
    return [
        embed_plot(draw_probabilities(STREAM_TITLES[stream], confusion[ordered], names))
        for stream, confusion in found.confusions.items()
    ]


def _show(example: Example) -> ShownExample:
    """Draw an example; its caption says what each stream answers by itself."""
    explanation, labels = example.explanation, ", ".join(example.labels)
    answers = {
        STREAM_TITLES[stream]: explanation.class_names[int(shares.argmax())]
        for stream, shares in explanation.probabilities().items()
    }
    name = Path(example.path).name
    picture = draw_prediction(explanation, name, f"labelled {labels}")
    return ShownExample(
        caption=f"{name}, labelled {labels}: "
        + ", ".join(f"{stream}: {answer}" for stream, answer in answers.items()),
        right=explanation.winner in example.labels,
        picture=embed_photos(picture),
    )


def _accuracy(scores: Scores, report: Report) -> Accuracy:
    logits = scores.at(report.num_segments)
    return Accuracy(
        stream=scores.stream,
        head=scores.head,
        figures=scores.figures(report.num_segments),
        interval=scores.judging.interval(logits, scores.labels, report.seed),
    )
