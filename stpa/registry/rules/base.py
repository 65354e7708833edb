"""What a promotion rule is, and what it says."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

from stpa.options import Options
from stpa.registry.judgement import Judgement


class Ruling(NamedTuple):
    """What a rule says of a challenger."""

    passed: bool
    reason: str
    """Why, for a person to read."""
    advice: str = ""
    """What that person can do, in one sentence; empty where the rule is passed."""


@dataclass(frozen=True)
class Rule(Options):
    """A demand on a challenger. Its fields are its limits: `promotion.rules.NAME`."""

    @abstractmethod
    def __call__(self, challenger: Judgement, champion: Judgement | None) -> Ruling:
        """Judge the challenger; there may be no champion yet."""
