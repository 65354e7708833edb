import re
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from stpa.errors import ConfigError
from stpa.registry.judgement import (
    Judgement,
    MultiLabelJudgement,
    SingleLabelJudgement,
    judge_scores,
    read_judgement,
)
from stpa.registry.rules import RULES, Rule, judge, make_rules
from tests.unit.registry.judgements import judgement
from tests.unit.registry.judgements import multi_label_judgement as many

HALF = [True, False] * 10
MOST = [True] * 18 + [False] * 2
FAILED = {"rgb stpa": "nothing is learnt"}


ONE_CLASS_EACH = tuple("abcd"[n % 4] + str(n // 8) for n in range(20))
FOUR_IN_ALL = tuple("ab"[n % 2] + str(n // 10) for n in range(20))
"""Recordings: two of each class can be told apart by luck in one of 6 ways."""


def constant(labels: str) -> Judgement:
    """Judge a classifier that answers `a` to all videos, which show these classes."""
    return judgement([True] * len(labels)).model_copy(
        update={"labels": tuple(labels), "predictions": ("a",) * len(labels)}
    )


def rules(min_gain: float = 0.0) -> dict[str, Rule]:
    """Return all rules, with their limits."""
    limits = {"no_worse_than_champion": {"min_gain": min_gain}}
    return make_rules({name: limits.get(name, {}) for name in RULES})


@pytest.mark.parametrize(
    ("rule", "challenger", "champion", "passes"),
    [
        ("same_data_version", judgement(HALF), None, True),
        ("same_data_version", judgement(HALF), judgement(MOST), True),
        ("same_data_version", judgement(HALF), judgement(HALF, data_version="data2"), False),
        ("same_data_version", judgement(HALF), judgement(HALF, offset=1), False),
        ("knows_all_classes", judgement(HALF), None, True),
        ("knows_all_classes", judgement(HALF, classes="abcde"), judgement(HALF), True),
        ("knows_all_classes", judgement(HALF, classes="abc"), judgement(HALF), False),
        ("has_learnt", judgement(HALF), None, True),
        ("has_learnt", judgement(MOST, failed=FAILED), None, False),
        ("has_learnt", judgement(MOST, failed=FAILED, learnt=("flow stpa",)), None, True),
        ("has_learnt", constant("ab" * 10), None, False),  # one class for all
        ("has_learnt", constant("a" * 20), None, True),  # which all of them show
        ("above_chance", judgement(MOST), None, True),
        ("above_chance", judgement([True, False, False, False] * 5), None, False),
        ("above_chance", judgement([True, True]), None, False),  # too few videos: p = 1/2
        ("above_chance", constant("a" * 95 + "b" * 5), None, False),
        ("above_chance", judgement(MOST, groups=ONE_CLASS_EACH), None, True),
        ("above_chance", judgement(MOST, classes="ab", groups=FOUR_IN_ALL), None, False),
        ("above_chance", judgement(HALF, classes="ab"), None, False),
        ("above_chance", judgement([False] * 20, classes="ab"), None, False),  # far from chance
        ("no_worse_than_champion", judgement(HALF), None, True),
        ("no_worse_than_champion", judgement(MOST), judgement(HALF), True),
        ("no_worse_than_champion", judgement(HALF), judgement(HALF), True),
        ("no_worse_than_champion", judgement(HALF), judgement(MOST), False),
        ("no_worse_than_champion", judgement(HALF), judgement(HALF, offset=99), False),
        ("same_data_version", many(1), many(2), True),
        ("same_data_version", many(1), many(1, data_version="data2"), False),
        ("knows_all_classes", many(1, classes="abc"), many(1), False),
        ("above_chance", many(0.3), None, True),
        ("above_chance", many(1e6), None, False),
        ("no_worse_than_champion", many(1), None, True),
        ("no_worse_than_champion", many(0.3), many(3), True),
        ("no_worse_than_champion", many(0.3), many(0.3), True),
        ("no_worse_than_champion", many(3), many(0.3), False),
        ("no_worse_than_champion", many(0.3), many(0.3, offset=99), False),
        ("no_worse_than_champion", many(0.3), many(0.3, classes="ab"), True),
    ],
)
def test_a_rule_passes_only_what_it_should(
    rule: str, challenger: Judgement, champion: Judgement | None, passes: bool
):
    passed, reason, advice = rules()[rule](challenger, champion)
    assert passed is passes
    assert reason
    assert "\n" not in reason + advice
    assert bool(advice) is not passes  # what to do, where there is something to do


@pytest.mark.parametrize(("min_gain", "passes"), [(0.3, True), (0.31, False), (-0.5, True)])
def test_the_gain_must_reach_its_limit_exactly(min_gain: float, passes: bool):
    champion, challenger = judgement([True] * 6 + [False] * 4), judgement([True] * 9 + [False])
    passed, _, _ = rules(min_gain)["no_worse_than_champion"](challenger, champion)
    assert passed is passes


def test_the_gain_comes_with_the_exact_mcnemar_p_value():
    champion, challenger = judgement([False] * 6 + [True]), judgement([True] * 6 + [False])
    _, reason, _ = rules()["no_worse_than_champion"](challenger, champion)
    assert "6 won, 1 lost, McNemar p = 0.12" in reason  # 2 (C(7,6) + C(7,7)) / 2^7 = 0.125


@pytest.mark.parametrize(
    ("challenger", "advice"),
    [
        (judgement([True, True]), "2 test videos do not show it: add clips"),
        (judgement([False] * 20), "It has not learnt the classes"),
    ],
)
def test_too_few_videos_and_too_little_learnt_ask_for_different_things(
    challenger: Judgement, advice: str
):
    assert advice in rules()["above_chance"](challenger, None).advice


def test_lost_classes_are_named():
    _, reason, _ = rules()["knows_all_classes"](
        judgement(HALF, classes="ab"), judgement(HALF, classes="abcd")
    )
    assert reason == "2 of the champion's classes are lost: c, d"


def test_every_rule_is_applied_after_one_has_failed():
    verdicts = judge(judgement([True, False]), judgement([True, True]), rules())
    assert [verdict.rule for verdict in verdicts] == list(RULES)
    assert [verdict.passed for verdict in verdicts] == [True, True, True, False, False]


def test_an_unknown_rule_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"'above_chanse': known are same_data_version, .*"):
        make_rules({"above_chance": {}, "above_chanse": {}})


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ("a",)},
        {"video_ids": ("v", "v")},
        {"video_ids": (), "labels": (), "predictions": ()},
        {"class_names": ("a",)},
        {"extra": 1},
    ],
)
def test_a_judgement_that_does_not_add_up_is_refused(change: dict[str, object]):
    whole = judgement([True, False]).model_dump()
    with pytest.raises(ValidationError):
        SingleLabelJudgement.model_validate(whole | change)


def test_a_judgement_survives_its_file(tmp_path: Path):
    before = judgement(HALF)
    (tmp_path / "judgement.json").write_text(before.model_dump_json())
    assert read_judgement((tmp_path / "judgement.json").read_text()) == before
    assert before.figure == 0.5


def test_the_gain_in_map_comes_with_its_interval():
    _, reason, _ = rules()["no_worse_than_champion"](many(0.3), many(3))
    assert re.fullmatch(
        r"mAP 0\.\d+ against the champion's 0\.\d+: gain \+0\.\d+, at least \+0\.000 wanted "
        r"\(95% interval \+0\.\d+ to \+0\.\d+\)",
        reason,
    )


def test_a_class_that_a_classifier_does_not_know_counts_as_unordered():
    scores = np.array(many(0).scores)
    scores[:, 3] = 0
    blind = many(0).model_copy(update={"scores": tuple(map(tuple, scores.tolist()))})
    assert many(0, classes="abc").figure == pytest.approx(blind.figure)
    assert blind.figure < many(0).figure == 1


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"labels": (("a",),)}, "one row of labels and scores each"),
        ({"video_ids": ("v",) * 40}, "must be unique"),
        ({"scores": ((1.0,),) * 40}, "a score for each of 4 classes"),
        ({"scores": ((1.0, 2.0, 3.0, float("nan")),) * 40}, "finite"),
        ({"labels": ((),) * 40}, "no video has a label"),
        ({"class_names": ()}, "at least 1"),
        ({"predictions": ("a",)}, "predictions"),
    ],
)
def test_a_judgement_of_many_labels_that_does_not_add_up_is_refused(change, fault):
    with pytest.raises(ValidationError, match=fault):
        MultiLabelJudgement.model_validate(many(1).model_dump() | change)


def test_a_judgement_of_many_labels_survives_its_file():
    assert read_judgement(many(1).model_dump_json()) == many(1)


@pytest.mark.parametrize("multi_label", [False, True])
def test_scores_are_judged_by_the_number_of_labels(multi_label):
    made = judge_scores(
        np.array([[0.0, 2.0], [1.0, 0.0]], np.float32),
        [("b",), ("b",)],
        multi_label=multi_label,
        data_version="data1",
        class_names=("a", "b"),
        video_ids=("v1", "v2"),
        groups=("g1", "g2"),
    )
    assert made.title == ("mAP" if multi_label else "top-1")
    assert made.figure == (1.0 if multi_label else 0.5)
