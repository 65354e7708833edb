import base64
import dataclasses
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from stpa.evaluation.examples import Example
from stpa.evaluation.explain import Explanation, StreamEvidence, best_contrast
from stpa.evaluation.figures import (
    draw_average_precisions,
    draw_confusion,
    draw_probabilities,
    draw_sweep,
)
from stpa.evaluation.fusion import Fusion, fuse
from stpa.evaluation.report import Reason, Report, TrainingProblem, write_report


def make_example() -> Example:
    """Explain a video of three classes; RGB alone is wrong."""
    scores = np.array([2, 1, 0], np.float32)
    seen = StreamEvidence(
        frames=np.full((2, 32, 32, 3), 99, np.uint8),
        flow=None,
        indices=np.arange(2),
        evidence=np.ones((2, 3, 3), np.float32),
        frame_weights=np.full(2, 0.5),
        logits=scores[::-1].copy(),
    )
    flow = dataclasses.replace(seen, flow=np.ones((2, 2, 32, 32), np.float32), logits=scores)
    return Example(
        "climb/v1.avi",
        ("climb",),
        Explanation(
            class_names=("climb", "dive", "swim"),
            multi_label=False,
            scores=scores,
            contrast=best_contrast(scores, multi_label=False),
            streams={"rgb": seen, "flow": flow},
            fps=25.0,
        ),
    )


STREAMS = ("rgb", "flow", "fused")


@pytest.fixture
def report(make_scores):
    logits = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 2, 0]]
    scores = []
    for head, sign in (("stpa", 1), ("tsn", -1)):
        rgb = make_scores(head=head, logits={1: -logits, 3: sign * logits})
        flow = dataclasses.replace(rgb, stream="flow")
        scores += [rgb, flow, fuse([rgb, flow], Fusion("average_logits"))]
    return Report(
        title="Retraining of <swimmers>",
        scores=scores,
        candidate_head="stpa",
        candidate_reason="it is ahead",
        num_segments=3,
        late_fusion="average_logits",
        decision="Rejected: one rule failed",
        rejected=True,
        reasons=[
            Reason("above_chance", True, "0.83 > 0.33", ""),
            Reason("better", False, "it is not", "Add clips."),
        ],
        training_problems=[
            TrainingProblem("flow", "stpa", "all <one> class", has_learnt=False),
            TrainingProblem("rgb", "tsn", "few steps", has_learnt=True),
        ],
        data_version="ba9876543210",
        git_commit="fedcba98",
        parameters="train:\n  seed: 0\n",
        seed=0,
        examples=[make_example()],
    )


def _page(tmp_path, report) -> str:
    path = tmp_path / "report" / "index.html"
    write_report(path, report)
    return path.read_text(encoding="utf-8")


def _tables(page: str) -> list[list[list[str]]]:
    """Return the cells of each row of each table."""
    rows = []
    for table in re.findall(r"<table.*?</table>", page, re.S):
        found = re.findall(r"<tr.*?</tr>", table, re.S)
        rows.append([re.findall(r"<td>(.*?)</td>", row, re.S) for row in found])
    return rows


def _pictures(page: str) -> list[str]:
    encoded = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    return [base64.b64decode(part).decode() for part in encoded]


def test_page_gives_each_stream_and_head_its_figures(tmp_path, report):
    accuracies = _tables(_page(tmp_path, report))[0]
    assert ["fused", "stpa", "83.3", "43.6 to 97.0", "83.3"] in accuracies
    assert [row[:2] for row in accuracies[1:]] == [
        [stream, head] for head in ("stpa", "tsn") for stream in ("rgb", "flow", "fused")
    ]


def test_page_compares_the_candidates_head_with_the_other(tmp_path, report):
    comparisons = _tables(_page(tmp_path, report))[3]
    assert [row[:2] for row in comparisons[1:]] == [
        [stream, "stpa against tsn"] for stream in ("rgb", "flow", "fused")
    ]
    assert comparisons[3][2] == "+83.3"
    assert comparisons[3][4:] == ["5 : 0", "0.062"]


def test_page_leaves_the_comparison_out_where_there_is_one_head(tmp_path, report):
    alone = dataclasses.replace(report, scores=report.scores[:3])
    assert "Against other heads" not in _page(tmp_path, alone)


def test_page_states_the_decision_its_reasons_and_what_it_was_made_from(tmp_path, report):
    page = _page(tmp_path, report)
    for fact in (
        "Rejected: one rule failed",
        "✓ <code>above_chance</code>: 0.83 &gt; 0.33",
        "✗ <code>better</code>: it is not",
        "What to do: Add clips.",
        "ba9876543210",
        "fedcba98",
        "0123456789ab+0123456789ab",
        "train:\n  seed: 0",
    ):
        assert fact in page


def test_page_lists_the_problems_of_all_trainings(tmp_path, report):
    page = _page(tmp_path, report)
    assert "<li>flow, stpa has learnt nothing: all &lt;one&gt; class.</li>" in page
    assert "<li>rgb, tsn: few steps.</li>" in page
    sound = dataclasses.replace(report, training_problems=[])
    assert "need a look" not in _page(tmp_path, sound)


def test_top5_is_told_only_of_more_than_five_classes(tmp_path, report, make_scores):
    names = tuple("abcdefgh")
    scores = make_scores(
        stream="fused",
        class_names=names,
        labels=np.eye(8, dtype=bool)[:6],
        logits={3: np.zeros((6, 8), np.float32)},
    )
    assert "top-5" not in _page(tmp_path, report)
    streams = [dataclasses.replace(scores, stream=stream) for stream in ("rgb", "flow", "fused")]
    assert "top-5" in _page(tmp_path, dataclasses.replace(report, scores=streams))


def test_page_needs_nothing_from_outside(tmp_path, report):
    class Addresses(HTMLParser):
        found: tuple[str, ...] = ()

        def handle_starttag(self, tag, attrs):
            self.found += tuple(v or "" for k, v in attrs if k in ("src", "href"))

    addresses = Addresses()
    addresses.feed(_page(tmp_path, report))
    kinds = [address.partition(";")[0] for address in addresses.found]
    assert kinds == ["data:image/svg+xml"] * 3 + ["data:image/webp"] + ["data:image/svg+xml"] * 2


def test_markup_in_a_name_stays_text(tmp_path, report):
    page = _page(tmp_path, report)
    assert "<swimmers>" not in page
    assert "&lt;swimmers&gt;" in page


def test_class_names_of_any_script_reach_the_picture(tmp_path, report):
    names = ("潜水", "$x^$", "<b>&")
    scores = [dataclasses.replace(scores, class_names=names) for scores in report.scores]
    *streams, _sweep, confusion = _pictures(
        _page(tmp_path, dataclasses.replace(report, scores=scores))
    )
    assert len(streams) == 3
    for picture in (*streams, confusion):
        texts = {element.text for element in ElementTree.fromstring(picture).iter()}
        assert set(names) <= {text and text.strip() for text in texts}


def test_equal_reports_give_equal_pages(tmp_path, report):
    assert _page(tmp_path / "a", report) == _page(tmp_path / "b", report)


def test_sweep_draws_top1_in_percent_against_k(report):
    lines = draw_sweep(report.scores).axes[0].get_lines()
    points = {line.get_label(): np.asarray(line.get_xydata()).tolist() for line in lines}
    assert len(points) == 6
    assert points["fused, stpa"] == [[1, 0], [3, pytest.approx(100 * 5 / 6)]]


def test_confusion_shows_shares_of_each_true_class(report):
    axes = draw_confusion(report.scores[2], 3, order=(2, 0, 1)).axes[0]
    shares = axes.images[0].get_array()
    assert shares is not None
    assert shares.tolist() == [[0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["swim", "climb", "dive"]


def test_many_classes_are_drawn_without_numbers(make_scores):
    names = tuple(f"class{index}" for index in range(101))
    labels = np.eye(101, dtype=bool)[:6]
    scores = make_scores(
        class_names=names, labels=labels, logits={3: np.zeros((6, 101), np.float32)}
    )
    assert not draw_confusion(scores, 3, range(101)).axes[0].texts
    assert not draw_probabilities("RGB", np.eye(101), names).axes[0].texts


@pytest.fixture
def multi_label_report(report):
    labels = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 1, 0]], bool)
    scores = [
        dataclasses.replace(scores, multi_label=True, labels=labels) for scores in report.scores
    ]
    return dataclasses.replace(report, scores=scores)


def test_many_labels_give_average_precisions_instead_of_accuracies(tmp_path, multi_label_report):
    page = _page(tmp_path, multi_label_report)
    figures = multi_label_report.candidate.figures(3)
    for wanted in ("mAP, %", "wAP, %", "gain in mAP, points", "bootstrap over videos"):
        assert wanted in page
    for unwanted in ("top-1", "McNemar", "Wilson", "right alone", "taken for what", "mixed up"):
        assert unwanted not in page
    rows = _tables(page)[0]
    fused = next(row for row in rows if row[:2] == ["fused", "stpa"])
    assert fused[2] == f"{100 * figures['map']:.1f}"
    assert fused[4:] == [f"{100 * figures['wap']:.1f}"]


def test_many_labels_are_compared_by_their_map(tmp_path, multi_label_report):
    comparisons = _tables(_page(tmp_path, multi_label_report))[1]
    scores = {part.head: part for part in multi_label_report.scores if part.stream == "fused"}
    gain = scores["stpa"].headline(3) - scores["tsn"].headline(3)
    assert comparisons[3][:3] == ["fused", "stpa against tsn", f"{100 * gain:+.1f}"]
    assert len(comparisons[3]) == 4


def test_dots_are_of_each_class_that_some_video_shows_by_each_stream(multi_label_report):
    streams = multi_label_report.streams
    axes = draw_average_precisions(streams, 3).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert sorted(names) == ["climb (3)", "dive (4)"]
    lines = {line.get_label(): np.asarray(line.get_xdata()) for line in axes.get_lines()}
    assert list(lines) == ["RGB", "optical flow", "fused"]
    assert lines["fused"].tolist() == sorted(lines["fused"])
    for scores, dots in zip(streams, lines.values(), strict=True):
        assert np.mean(dots) == pytest.approx(100 * scores.headline(3))


def test_page_says_what_each_stream_mixes_up_and_what_fusion_adds(tmp_path, report):
    _accuracies, pairs, agreement, *_ = _tables(_page(tmp_path, report))
    found = report.stream_comparison
    assert found is not None
    worst = [
        f"{found.pairs[stream][0].first}, {found.pairs[stream][0].second}" for stream in STREAMS
    ]
    assert pairs[1][::2] == worst
    assert pairs[1][1] == f"{100 * found.pairs['rgb'][0].probability:.1f}"
    assert agreement[1:] == [
        [*("right" if right else "wrong" for right in group.right), *map(str, group[1:])]
        for group in found.agreement
    ]
    assert sum(int(row[2]) for row in agreement[1:]) == 6


def test_plots_of_streams_have_their_probabilities_in_one_order(report):
    found = report.stream_comparison
    order = list(found.class_order)
    for confusion in found.confusions.values():
        axes = draw_probabilities("t", confusion[np.ix_(order, order)], ("a", "b", "c")).axes[0]
        numbers = [int(text.get_text()) for text in axes.texts]
        expected = 100 * confusion[np.ix_(order, order)].ravel()
        np.testing.assert_allclose(numbers, expected, atol=0.51)


def test_an_example_says_what_it_is_and_what_each_stream_says_alone(tmp_path, report):
    page = _page(tmp_path, report)
    assert "✓ v1.avi, labelled climb: fused: climb, RGB: swim, optical flow: climb" in page
    wrong = dataclasses.replace(report.examples[0], labels=("dive",))
    page = _page(tmp_path, dataclasses.replace(report, examples=[wrong]))
    assert "✗ v1.avi, labelled dive" in page
    assert "what decided" not in _page(tmp_path, dataclasses.replace(report, examples=[]))


def test_a_page_with_three_examples_of_photographs_stays_small(tmp_path, report):
    random = np.random.default_rng(0)
    size = 12, 224, 224, 3
    smooth = np.cumsum(np.cumsum(random.normal(size=size), axis=1), axis=2)
    frames = (127 + 127 * smooth / np.abs(smooth).max()).astype(np.uint8)
    example = report.examples[0]
    streams = {
        name: dataclasses.replace(
            seen,
            frames=frames,
            flow=seen.flow if seen.flow is None else random.normal(size=(12, 2, 224, 224)),
            indices=np.arange(12),
            evidence=random.normal(size=(12, 7, 7)),
            frame_weights=np.full(12, 1 / 12),
        )
        for name, seen in example.explanation.streams.items()
    }
    explanation = dataclasses.replace(example.explanation, streams=streams)
    examples = [dataclasses.replace(example, explanation=explanation)] * 3
    page = _page(tmp_path, dataclasses.replace(report, examples=examples))
    assert len(page) < 2_000_000


def test_sweep_draws_map_where_there_are_many_labels(multi_label_report):
    axes = draw_sweep(multi_label_report.scores).axes[0]
    assert axes.get_ylabel() == "mAP, %"
