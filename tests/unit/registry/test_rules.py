from pathlib import Path

import pytest
from pydantic import ValidationError

from stpa.config import PromotionConfig
from stpa.errors import ConfigError
from stpa.registry.candidate import Judgement
from stpa.registry.rules import RULES, check_rules, judge
from tests.unit.registry.judgements import judgement

HALF = [True, False] * 10
MOST = [True] * 18 + [False] * 2


def limits(min_gain: float = 0.0, rules: list[str] | None = None) -> PromotionConfig:
    return PromotionConfig(
        model_name="m", rules=list(RULES) if rules is None else rules, min_gain=min_gain
    )


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
        ("above_chance", judgement(MOST), None, True),
        ("above_chance", judgement([True, False, False, False] * 5), None, False),
        ("above_chance", judgement([True, True]), None, False),  # too few videos: p = 1/16
        ("above_chance", judgement(HALF, classes="ab"), None, False),
        ("above_chance", judgement([False] * 20, classes="ab"), None, False),  # far from chance
        ("no_worse_than_champion", judgement(HALF), None, True),
        ("no_worse_than_champion", judgement(MOST), judgement(HALF), True),
        ("no_worse_than_champion", judgement(HALF), judgement(HALF), True),
        ("no_worse_than_champion", judgement(HALF), judgement(MOST), False),
        ("no_worse_than_champion", judgement(HALF), judgement(HALF, offset=99), False),
    ],
)
def test_a_rule_passes_only_what_it_should(
    rule: str, challenger: Judgement, champion: Judgement | None, passes: bool
):
    passed, reason = RULES[rule](challenger, champion, limits())
    assert passed is passes
    assert reason
    assert "\n" not in reason


@pytest.mark.parametrize(("min_gain", "passes"), [(0.3, True), (0.31, False), (-0.5, True)])
def test_the_gain_must_reach_its_limit_exactly(min_gain: float, passes: bool):
    champion, challenger = judgement([True] * 6 + [False] * 4), judgement([True] * 9 + [False])
    passed, _ = RULES["no_worse_than_champion"](challenger, champion, limits(min_gain))
    assert passed is passes


def test_the_gain_comes_with_the_exact_mcnemar_p_value():
    champion, challenger = judgement([False] * 6 + [True]), judgement([True] * 6 + [False])
    _, reason = RULES["no_worse_than_champion"](challenger, champion, limits())
    assert "6 won, 1 lost, McNemar p = 0.12" in reason  # 2 (C(7,6) + C(7,7)) / 2^7 = 0.125


def test_lost_classes_are_named():
    _, reason = RULES["knows_all_classes"](
        judgement(HALF, classes="ab"), judgement(HALF, classes="abcd"), limits()
    )
    assert reason == "2 of the champion's classes are lost: c, d"


def test_every_rule_is_applied_after_one_has_failed():
    verdicts = judge(judgement([True, False]), judgement([True, True]), limits())
    assert [verdict.rule for verdict in verdicts] == list(RULES)
    assert [verdict.passed for verdict in verdicts] == [True, True, False, False]


def test_an_unknown_rule_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"'above_chanse': known are same_data_version, .*"):
        check_rules(["above_chance", "above_chanse"])


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
        Judgement.model_validate(whole | change)


def test_a_judgement_survives_its_file(tmp_path: Path):
    before = judgement(HALF)
    (tmp_path / "judgement.json").write_text(before.model_dump_json())
    assert Judgement.model_validate_json((tmp_path / "judgement.json").read_text()) == before
    assert before.top1 == 0.5
