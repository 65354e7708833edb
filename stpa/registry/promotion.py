"""Promote a challenger that passes the rules, or go back to the champion before."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from pydantic import TypeAdapter, ValidationError

from stpa.config import PromotionConfig
from stpa.errors import RegistryError
from stpa.registry.aliases import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    OnMoved,
    Switch,
    find_champion,
    finish_interrupted,
    point,
    switch,
)
from stpa.registry.judgement import Judgement
from stpa.registry.rules import Verdict, judge, make_rules
from stpa.registry.tracking import Tracker, Version

DECISION_TAG = "stpa.decision"
DECISION_FILE = "decision.json"

_logger = logging.getLogger(__name__)


class Outcome(StrEnum):
    """What became of the challenger."""

    PROMOTED = "promoted"
    REJECTED = "rejected"
    UNCHANGED = "unchanged"
    """It was the champion already."""
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True)
class Decision:
    """What is served after a promotion or a rollback, and why."""

    outcome: Outcome
    champion_version: int | None
    """Of the fusion; none when the first challenger was rejected."""
    previous_version: int | None
    reasons: tuple[Verdict, ...]
    """When unchanged: those for which the champion was promoted."""

    @property
    def promoted(self) -> bool:
        """Whether the challenger became the champion now."""
        return self.outcome is Outcome.PROMOTED

    @property
    def sentence(self) -> str:
        """What became of the challenger, and which version is served."""
        if self.champion_version is None:
            return "Rejected: nothing is served yet"
        served = f"version {self.champion_version} is served"
        return {
            Outcome.PROMOTED: f"Promoted: {served} from now on",
            Outcome.REJECTED: f"Rejected: {served} as before",
            Outcome.UNCHANGED: f"Unchanged: {served}, made from the same inputs",
            Outcome.ROLLED_BACK: f"Rolled back: {served} again",
        }[self.outcome]


def promote(
    tracker: Tracker,
    challenger: Version,
    judgement: Judgement,
    judge_champion: Callable[[Version], Judgement],
    config: PromotionConfig,
    on_moved: OnMoved = lambda _move: None,
) -> Decision:
    """Make `challenger`, a version of the fusion, the champion if it passes every rule.

    One that was rolled back is not promoted again, or every retraining would undo the rollback.
    """
    rules = make_rules(config.rules)
    model_name = config.model_name
    finish_interrupted(tracker, model_name, on_moved)
    point(tracker, model_name, CHALLENGER, challenger.number)
    aliases = tracker.registered(challenger.name).aliases
    champion, previous = aliases.get(CHAMPION), aliases.get(PREVIOUS)

    if champion == challenger.number:
        for alias in {CHALLENGER, CHAMPION, PREVIOUS} & aliases.keys():
            point(tracker, model_name, alias, aliases[alias])
        return Decision(Outcome.UNCHANGED, champion, previous, read_reasons(tracker, challenger))
    if challenger.tags.get(DECISION_TAG) == Outcome.ROLLED_BACK:
        reason = f"version {challenger.number} was rolled back"
        advice = "Change the data or the parameters; or serve it again by `stpa rollback`."
        verdict = Verdict("not_rolled_back", passed=False, reason=reason, advice=advice)
        return Decision(Outcome.REJECTED, champion, previous, (verdict,))

    served = (
        None if champion is None else judge_champion(tracker.version(challenger.name, champion))
    )
    verdicts = judge(judgement, served, rules)
    if not all(verdict.passed for verdict in verdicts):
        decision = Decision(Outcome.REJECTED, champion, previous, verdicts)
        _record(tracker, challenger, decision)
        return decision
    decision = Decision(Outcome.PROMOTED, challenger.number, champion, verdicts)
    _record(tracker, challenger, decision)  # before the switch: after it nobody would ask again
    move = Switch(action="promote", champion=challenger.number, previous=champion)
    switch(tracker, model_name, move, on_moved)
    return decision


def rollback(tracker: Tracker, model_name: str, on_moved: OnMoved = lambda _move: None) -> Decision:
    """Exchange champion and previous; a second rollback undoes the first.

    After a kill, calling again ends the rollback that was under way and starts no other.
    """
    finished = finish_interrupted(tracker, model_name, on_moved)
    if finished is None or finished.action != "rollback":
        champion = find_champion(tracker, model_name)
        previous = tracker.version_by_alias(champion.name, PREVIOUS)
        if previous is None:
            raise RegistryError(
                f"{champion.name} at {tracker.place} has no version before champion "
                f"{champion.number}: promote another one first"
            )
        tracker.tag_version(champion, {DECISION_TAG: Outcome.ROLLED_BACK})
        tracker.tag_version(previous, {DECISION_TAG: Outcome.PROMOTED})
        finished = Switch(action="rollback", champion=previous.number, previous=champion.number)
        switch(tracker, model_name, finished, on_moved)
    return Decision(Outcome.ROLLED_BACK, finished.champion, finished.previous, ())


def _record(tracker: Tracker, challenger: Version, decision: Decision) -> None:
    text = TypeAdapter(Decision).dump_json(decision, indent=2).decode()
    tracker.log_text(challenger.run_id, text, DECISION_FILE)
    tags = {
        f"stpa.rule.{verdict.rule}": f"{'passed' if verdict.passed else 'failed'}: {verdict.reason}"
        for verdict in decision.reasons
    }
    tracker.tag_version(challenger, {**tags, DECISION_TAG: decision.outcome})


def read_reasons(tracker: Tracker, champion: Version) -> tuple[Verdict, ...]:
    """Return the reasons that were recorded when `champion` was promoted."""
    text = tracker.read_text(champion.run_id, DECISION_FILE)
    try:
        return TypeAdapter(Decision).validate_json(text or "").reasons
    except ValidationError:
        _logger.warning("%s of run %s is missing or broken", DECISION_FILE, champion.run_id)
        return ()
