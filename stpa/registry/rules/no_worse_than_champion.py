"""What is served does not get worse."""

from dataclasses import dataclass

from stpa.registry.judgement import Judgement
from stpa.registry.rules.base import Rule, Ruling


@dataclass(frozen=True)
class NoWorseThanChampion(Rule):
    """Demand a gain of at least `min_gain` on the videos both were judged on.

    Reports how sure it is: whether the gain could be luck.
    """

    min_gain: float
    """In top-1, or in mAP where a video has any number of labels; negative tolerates a loss."""

    def __call__(self, challenger: Judgement, champion: Judgement | None) -> Ruling:
        figure = f"{challenger.title} {challenger.figure:.3f}"
        if champion is None:
            return Ruling(True, f"{figure}; there is no champion to compare with")
        paired = challenger.gain_over(champion)
        if paired is None:
            return Ruling(
                False,
                "no video was judged by both challenger and champion",
                "Retrain again: both are then judged on equal data.",
            )
        passed = paired.gain >= self.min_gain
        return Ruling(
            passed,
            f"{figure} against the champion's {champion.figure:.3f}: "
            f"gain {paired.gain:+.3f}, at least {self.min_gain:+.3f} wanted ({paired.describe()})",
            "" if passed else "Nothing needs to be done: the champion stays, and is still served.",
        )
