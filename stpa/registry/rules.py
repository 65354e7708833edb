"""Promotion rules: each is a function of two judgements, and one entry in `RULES`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stpa.config import PromotionConfig
from stpa.errors import ConfigError
from stpa.registry.judgement import Judgement

SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Verdict:
    """Whether a challenger passed a rule, and why, for a person to read."""

    rule: str
    passed: bool
    reason: str


Rule = Callable[[Judgement, Judgement | None, PromotionConfig], tuple[bool, str]]
"""(challenger, champion or none yet, limits) -> (passed, reason)."""


def same_data_version(
    challenger: Judgement, champion: Judgement | None, config: PromotionConfig
) -> tuple[bool, str]:
    """Demand that both were judged on the same videos: else their figures do not compare."""
    if champion is None:
        return True, f"the first model, judged on data {challenger.data_version}"
    same = (challenger.data_version, set(challenger.video_ids)) == (
        champion.data_version,
        set(champion.video_ids),
    )
    return same, (
        f"challenger judged on data {challenger.data_version} "
        f"({len(challenger.video_ids)} videos), champion on {champion.data_version} "
        f"({len(champion.video_ids)} videos)"
    )


def knows_all_classes(
    challenger: Judgement, champion: Judgement | None, config: PromotionConfig
) -> tuple[bool, str]:
    """Demand that no class which is served today is lost."""
    served = champion.class_names if champion else challenger.class_names
    lost = sorted(set(served) - set(challenger.class_names))
    if lost:
        return False, f"{len(lost)} of the champion's classes are lost: {', '.join(lost[:5])}"
    return True, f"all {len(served)} classes are known"


def has_learnt(
    challenger: Judgement, champion: Judgement | None, config: PromotionConfig
) -> tuple[bool, str]:
    """Demand that every network's training got below the loss of guessing, with more than one
    answer (`stpa.training.learning`)."""
    if challenger.problems:
        return False, " ".join(challenger.problems)
    return True, "every network learnt from its training videos"


def above_chance(
    challenger: Judgement, champion: Judgement | None, config: PromotionConfig
) -> tuple[bool, str]:
    """Demand more than guessing gives, by a one-sided test (`Judgement.against_chance`)."""
    chance = challenger.against_chance()
    return chance.p_value < SIGNIFICANCE, (
        f"{challenger.title} {challenger.figure:.3f} of {len(challenger.video_ids)} videos "
        f"against chance {chance.level:.3f} (p = {chance.p_value:.2g})"
    )


def no_worse_than_champion(
    challenger: Judgement, champion: Judgement | None, config: PromotionConfig
) -> tuple[bool, str]:
    """Demand a gain of at least `min_gain` on the videos both were judged on.

    Reports how sure it is: whether the gain could be luck.
    """
    figure = f"{challenger.title} {challenger.figure:.3f}"
    if champion is None:
        return True, f"{figure}; there is no champion to compare with"
    paired = challenger.gain_over(champion)
    if paired is None:
        return False, "no video was judged by both challenger and champion"
    return paired.gain >= config.min_gain, (
        f"{figure} against the champion's {champion.figure:.3f}: "
        f"gain {paired.gain:+.3f}, at least {config.min_gain:+.3f} wanted ({paired.describe()})"
    )


RULES: dict[str, Rule] = {
    "same_data_version": same_data_version,
    "knows_all_classes": knows_all_classes,
    "has_learnt": has_learnt,
    "above_chance": above_chance,
    "no_worse_than_champion": no_worse_than_champion,
}


def check_rules(names: Sequence[str]) -> None:
    """Raise `ConfigError` for a name that is no rule."""
    unknown = [name for name in names if name not in RULES]
    if unknown:
        raise ConfigError(
            f"promotion.rules names {', '.join(map(repr, unknown))}: known are {', '.join(RULES)}"
        )


def judge(
    challenger: Judgement, champion: Judgement | None, config: PromotionConfig
) -> tuple[Verdict, ...]:
    """Apply every rule that the configuration names, also after one has failed."""
    return tuple(Verdict(name, *RULES[name](challenger, champion, config)) for name in config.rules)
