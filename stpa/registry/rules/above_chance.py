"""A model that guesses is not served."""

from dataclasses import dataclass

from stpa.registry.judgement import Judgement
from stpa.registry.rules.base import Rule, Ruling

SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class AboveChance(Rule):
    """Demand more than guessing gives, by a one-sided test (`Judgement.against_chance`), and more
    than an answer that is always the same."""

    def __call__(self, challenger: Judgement, champion: Judgement | None) -> Ruling:
        chance = challenger.against_chance()
        num_videos = len(challenger.video_ids)
        reason = (
            f"{challenger.title} {challenger.figure:.3f} of {num_videos} videos "
            f"against chance {chance.level:.3f} (p = {chance.p_value:.2g})"
        )
        if chance.p_value < SIGNIFICANCE and challenger.figure > chance.level:
            return Ruling(True, reason)
        if challenger.figure > chance.level:
            return Ruling(
                False,
                reason,
                f"It may be better than chance, but {num_videos} test videos do not show it: add "
                "clips of more recordings, or train for more epochs.",
            )
        return Ruling(
            False,
            reason,
            "It has not learnt the classes: see in the report what is mixed up, then add clips of "
            "more recordings, train for more epochs, or start from pretrained weights "
            "(model.pretrained).",
        )
