import json
from collections.abc import Callable
from typing import Any

import pytest

from stpa.config import PromotionConfig
from stpa.errors import ConfigError, RegistryError
from stpa.registry.aliases import (
    SWITCH_TAG,
    Switch,
    find_challenger,
    find_champion,
    fusion_model,
    stream_model,
    version_tag,
)
from stpa.registry.judgement import Judgement
from stpa.registry.promotion import DECISION_FILE, Decision, Outcome, promote, rollback
from stpa.registry.rules import RULES
from stpa.registry.tracking import Tracker, Version
from tests.unit.registry.judgements import judgement

WEAK, GOOD, BEST = (judgement([True] * right + [False] * (20 - right)) for right in (6, 15, 19))
WRITES = ["set_alias", "tag_version", "tag_model", "untag_model", "log_text"]


LIMITS: dict[str, Any] = {name: {} for name in RULES}
LIMITS["no_worse_than_champion"] = {"min_gain": 0.0}


class Bench:
    """A model whose networks are 10 versions ahead of its fusion, to tell them apart."""

    def __init__(self, tracker: Tracker, model_name: str) -> None:
        self.tracker, self.model_name = tracker, model_name
        self.moves: list[Switch] = []
        """As somebody is told of them."""
        self.names = [stream_model(model_name, stream) for stream in ("rgb", "flow")]
        for name in [*self.names, fusion_model(model_name)]:
            tracker.client.create_registered_model(name)
        for index in range(1, 4):
            for name in self.names:
                tracker.client.create_model_version(name, f"file:///network/{index}")
        self.versions = {number: self._fusion(number) for number in (1, 2, 3)}

    def _fusion(self, number: int) -> Version:
        run = self.tracker.open_run(f"{self.model_name}-{number}", "fusion", {}, {})
        name = fusion_model(self.model_name)
        # Fusion 1 holds networks 3, 2 holds 2, 3 holds 1: equal numbers would hide a mix-up.
        tags = {version_tag(stream): str(4 - number) for stream in ("rgb", "flow")}
        self.tracker.client.create_model_version(name, "file:///fusion", run, tags)
        return self.tracker.version(name, number)

    def promote(
        self, number: int, challenger: Judgement, champion: Judgement | None = None
    ) -> Decision:
        def judge_champion(_: Version) -> Judgement:
            assert champion is not None, "the champion was judged for nothing"
            return champion

        version = self.tracker.version(fusion_model(self.model_name), number)
        config = PromotionConfig(model_name=self.model_name, rules=LIMITS, candidate="stpa")
        on_moved = self.moves.append
        return promote(self.tracker, version, challenger, judge_champion, config, on_moved)

    def rollback(self) -> Decision:
        return rollback(self.tracker, self.model_name, self.moves.append)

    def aliases(self) -> dict[str, int]:
        """Return the fusion's aliases, after checking that the networks follow them."""
        fusion = self.tracker.registered(fusion_model(self.model_name))
        assert SWITCH_TAG not in fusion.tags
        for name in self.names:
            followed = {alias: 4 - number for alias, number in fusion.aliases.items()}
            assert self.tracker.registered(name).aliases == followed
        return dict(fusion.aliases)

    def reset(self, **aliases: int) -> None:
        """Put everything back to a state with these aliases and no decisions."""
        fusion, client = fusion_model(self.model_name), self.tracker.client
        for name in [*self.names, fusion]:
            for alias in self.tracker.registered(name).aliases:
                client.delete_registered_model_alias(name, alias)
            for alias, number in aliases.items():
                self.tracker.set_alias(name, alias, number if name == fusion else 4 - number)
        for number in self.versions:
            for tag in self.tracker.version(fusion, number).tags:
                if tag == "stpa.decision":
                    client.delete_model_version_tag(fusion, str(number), tag)
        if SWITCH_TAG in self.tracker.registered(fusion).tags:
            self.tracker.untag_model(fusion, SWITCH_TAG)


@pytest.fixture
def bench(tracker: Tracker, model_name: str) -> Bench:
    return Bench(tracker, model_name)


def test_the_first_good_challenger_is_promoted(bench: Bench):
    decision = bench.promote(1, GOOD)
    assert (decision.promoted, decision.champion_version, decision.previous_version) == (
        True,
        1,
        None,
    )
    assert bench.aliases() == {"challenger": 1, "champion": 1}
    assert [verdict.rule for verdict in decision.reasons] == list(RULES)


def test_a_first_challenger_at_chance_is_not_served(bench: Bench):
    decision = bench.promote(1, WEAK)
    assert (decision.outcome, decision.champion_version) == (Outcome.REJECTED, None)
    assert bench.aliases() == {"challenger": 1}


def test_a_better_challenger_makes_the_champion_previous(bench: Bench):
    bench.promote(1, GOOD)
    decision = bench.promote(2, BEST, GOOD)
    assert (decision.champion_version, decision.previous_version) == (2, 1)
    assert bench.aliases() == {"challenger": 2, "champion": 2, "previous": 1}


def test_a_worse_challenger_changes_only_its_own_alias(bench: Bench):
    bench.promote(1, BEST)
    decision = bench.promote(2, GOOD, BEST)
    assert (decision.outcome, decision.champion_version) == (Outcome.REJECTED, 1)
    assert bench.aliases() == {"challenger": 2, "champion": 1}


def test_the_decision_and_its_reasons_are_on_record(bench: Bench):
    bench.promote(1, GOOD)
    bench.promote(2, WEAK, GOOD)
    tags = bench.tracker.version(fusion_model(bench.model_name), 2).tags
    assert tags["stpa.decision"] == "rejected"
    assert tags["stpa.rule.knows_all_classes"].startswith("passed: ")
    assert tags["stpa.rule.no_worse_than_champion"].startswith("failed: top-1 0.300 against")
    assert bench.tracker.read_text(bench.versions[2].run_id, DECISION_FILE)


def test_the_champion_again_is_unchanged_and_gives_its_reasons(bench: Bench):
    reasons = bench.promote(1, GOOD).reasons
    again = bench.promote(1, GOOD)
    assert (again.outcome, again.promoted, again.champion_version) == ("unchanged", False, 1)
    assert again.reasons == reasons


def test_the_champion_again_repairs_the_networks_aliases(bench: Bench):
    bench.promote(1, GOOD)
    bench.promote(2, BEST, GOOD)
    bench.tracker.set_alias(bench.names[0], "champion", 1)
    bench.tracker.client.delete_registered_model_alias(bench.names[1], "previous")
    bench.promote(2, BEST)
    assert bench.aliases() == {"challenger": 2, "champion": 2, "previous": 1}


def test_a_rollback_exchanges_and_a_second_one_undoes_it(bench: Bench):
    bench.promote(1, GOOD)
    bench.promote(2, BEST, GOOD)
    decision = bench.rollback()
    assert (decision.outcome, decision.champion_version) == (Outcome.ROLLED_BACK, 1)
    assert bench.aliases() == {"challenger": 2, "champion": 1, "previous": 2}
    bench.rollback()
    assert bench.aliases() == {"challenger": 2, "champion": 2, "previous": 1}
    assert bench.promote(2, BEST).outcome is Outcome.UNCHANGED


def test_retraining_unchanged_does_not_undo_a_rollback(bench: Bench):
    bench.promote(1, GOOD)
    bench.promote(2, BEST, GOOD)
    bench.rollback()
    decision = bench.promote(2, BEST)
    assert (decision.outcome, decision.champion_version) == (Outcome.REJECTED, 1)
    assert "version 2 was rolled back" in decision.reasons[0].reason
    assert bench.promote(3, BEST, GOOD).promoted


def test_what_a_second_rollback_restored_may_be_promoted_again(bench: Bench):
    bench.promote(1, GOOD)
    bench.promote(2, BEST, GOOD)
    bench.rollback()
    bench.rollback()
    bench.promote(3, BEST, BEST)
    assert bench.promote(2, BEST, BEST).promoted


def test_nothing_to_roll_back_to_is_one_clear_line(bench: Bench):
    with pytest.raises(RegistryError, match=r"has no champion: train and promote one"):
        bench.rollback()
    bench.promote(1, GOOD)
    with pytest.raises(RegistryError, match=r"has no version before champion 1"):
        bench.rollback()
    assert bench.aliases() == {"challenger": 1, "champion": 1}


def test_a_missing_model_has_no_champion(tracker: Tracker, model_name: str):
    with pytest.raises(RegistryError, match=f"{model_name}-fusion at .* has no champion"):
        find_champion(tracker, model_name)


def test_a_rejected_first_challenger_can_be_found_and_is_named_where_a_champion_is_missing(
    bench: Bench,
):
    with pytest.raises(RegistryError, match="has no challenger: train one with `stpa retrain`"):
        find_challenger(bench.tracker, bench.model_name)
    decision = bench.promote(1, WEAK)
    assert find_challenger(bench.tracker, bench.model_name).number == 1
    with pytest.raises(
        RegistryError, match=r"version 1 did not pass .*`stpa predict --challenger`"
    ):
        find_champion(bench.tracker, bench.model_name)
    failed = [verdict for verdict in decision.reasons if not verdict.passed]
    assert [bool(verdict.advice) for verdict in failed] == [True]


def test_the_challenger_is_the_latest_candidate_though_another_one_is_champion(bench: Bench):
    bench.promote(1, BEST)
    bench.promote(2, GOOD, BEST)
    assert find_challenger(bench.tracker, bench.model_name).number == 2
    assert find_champion(bench.tracker, bench.model_name).number == 1


def test_a_record_of_an_earlier_version_has_no_advice(bench: Bench):
    bench.promote(1, GOOD)
    run_id = bench.versions[1].run_id
    record = json.loads(bench.tracker.read_text(run_id, DECISION_FILE) or "")
    for verdict in record["reasons"]:
        del verdict["advice"]
    bench.tracker.log_text(run_id, json.dumps(record), DECISION_FILE)
    reasons = bench.promote(1, GOOD).reasons
    assert [verdict.rule for verdict in reasons] == list(RULES)


def test_an_unknown_rule_stops_before_any_alias_moves(bench: Bench):
    config = PromotionConfig(model_name=bench.model_name, rules={"luck": {}}, candidate="stpa")
    with pytest.raises(ConfigError, match="'luck': known are"):
        promote(bench.tracker, bench.versions[1], GOOD, lambda _: GOOD, config)
    assert bench.aliases() == {}


def test_a_damaged_record_of_a_move_is_reported(bench: Bench):
    bench.tracker.tag_model(fusion_model(bench.model_name), SWITCH_TAG, "{")
    with pytest.raises(RegistryError, match=r"tag stpa.switch of .* delete the tag"):
        bench.rollback()


@pytest.mark.parametrize(
    ("action", "before", "after"),
    [
        (
            lambda bench: bench.promote(3, BEST, GOOD),
            {"champion": 2, "previous": 1, "challenger": 2},
            {"champion": 3, "previous": 2, "challenger": 3},
        ),
        (
            lambda bench: bench.rollback(),
            {"champion": 3, "previous": 2, "challenger": 3},
            {"champion": 2, "previous": 3, "challenger": 3},
        ),
    ],
    ids=["promote", "rollback"],
)
def test_killed_before_any_write_and_run_again_it_ends_right(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    action: Callable[[Bench], Decision],
    before: dict[str, int],
    after: dict[str, int],
):
    num_kills = 0
    while True:
        bench.reset(**before)
        bench.moves.clear()
        with monkeypatch.context() as killing:
            _kill_before_write(killing, num_kills)
            try:
                action(bench)
            except KeyboardInterrupt:
                num_kills += 1
            else:
                break
        fusion = bench.tracker.registered(fusion_model(bench.model_name)).aliases
        assert fusion["champion"] in (before["champion"], after["champion"])
        action(bench)
        assert bench.aliases() == after, f"after a kill before write {num_kills}"
        # One move, however often it was ended: its notice is told once.
        assert len({move.id for move in bench.moves}) == 1, f"after a kill before {num_kills}"
    assert bench.aliases() == after
    assert num_kills >= 10


def test_a_promotion_killed_half_way_is_ended_before_a_rollback(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    bench.reset(champion=2, previous=1)
    with monkeypatch.context() as killing:
        _kill_before_write(killing, 10)  # `previous` has moved, `champion` of one network too
        with pytest.raises(KeyboardInterrupt):
            bench.promote(3, BEST, GOOD)
    assert SWITCH_TAG in bench.tracker.registered(fusion_model(bench.model_name)).tags
    assert bench.rollback().champion_version == 2
    assert bench.aliases() == {"challenger": 3, "champion": 2, "previous": 3}


def _kill_before_write(monkeypatch: pytest.MonkeyPatch, index: int) -> None:
    """Let `index` writes through, and raise in place of the next."""
    written = 0

    def counted(write: Callable[..., None]) -> Callable[..., None]:
        def killed(*args: Any) -> None:
            nonlocal written
            if written == index:
                raise KeyboardInterrupt
            written += 1
            write(*args)

        return killed

    for name in WRITES:
        monkeypatch.setattr(Tracker, name, counted(getattr(Tracker, name)))
