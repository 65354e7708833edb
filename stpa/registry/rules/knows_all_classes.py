"""What is served today is served tomorrow."""

from dataclasses import dataclass

from stpa.registry.judgement import Judgement
from stpa.registry.rules.base import Rule, Ruling


@dataclass(frozen=True)
class KnowsAllClasses(Rule):
    """Demand that no class which is served today is lost."""

    def __call__(self, challenger: Judgement, champion: Judgement | None) -> Ruling:
        served = champion.class_names if champion else challenger.class_names
        lost = sorted(set(served) - set(challenger.class_names))
        if lost:
            return Ruling(
                False,
                f"{len(lost)} of the champion's classes are lost: {', '.join(lost[:5])}",
                "Ingest videos of these classes again or, if they are given up for good, remove "
                "knows_all_classes from promotion.rules.",
            )
        return Ruling(True, f"all {len(served)} classes are known")
