"""Promotion rules, one file per rule.

To add one: a file with a subclass of `Rule`, a dataclass whose fields are its limits, and an entry
in `RULES`. `promotion.rules` in params.yaml names those that must pass, each with its limits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stpa.errors import ConfigError
from stpa.registry.judgement import Judgement
from stpa.registry.rules.above_chance import AboveChance
from stpa.registry.rules.base import Rule, Ruling
from stpa.registry.rules.has_learnt import HasLearnt
from stpa.registry.rules.knows_all_classes import KnowsAllClasses
from stpa.registry.rules.no_worse_than_champion import NoWorseThanChampion
from stpa.registry.rules.same_data_version import SameDataVersion

__all__ = ["RULES", "Rule", "Ruling", "Verdict", "judge", "make_rules"]

RULES: dict[str, type[Rule]] = {
    "same_data_version": SameDataVersion,
    "knows_all_classes": KnowsAllClasses,
    "has_learnt": HasLearnt,
    "above_chance": AboveChance,
    "no_worse_than_champion": NoWorseThanChampion,
}


@dataclass(frozen=True)
class Verdict:
    """The ruling of one rule, by its name."""

    rule: str
    passed: bool
    reason: str
    advice: str = ""


def make_rules(limits: Mapping[str, Mapping[str, Any]]) -> dict[str, Rule]:
    """Return rules with their limits, which `stpa.params` has checked, by name.

    Raises ConfigError for a name that is no rule.
    """
    if unknown := [name for name in limits if name not in RULES]:
        raise ConfigError(
            f"promotion.rules names {', '.join(map(repr, unknown))}: known are {', '.join(RULES)}"
        )
    return {name: RULES[name](**values) for name, values in limits.items()}


def judge(
    challenger: Judgement, champion: Judgement | None, rules: Mapping[str, Rule]
) -> tuple[Verdict, ...]:
    """Apply every rule, also after one has failed."""
    return tuple(Verdict(name, *rule(challenger, champion)) for name, rule in rules.items())
