"""Promotion rules: each is a function of two judgements, and one entry in `RULES`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stpa.config import PromotionConfig
from stpa.errors import ConfigError
from stpa.evaluation.significance import compare_paired
from stpa.registry.candidate import Judgement

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


def above_chance(
    challenger: Judgement, champion: Judgement | None, config: PromotionConfig
) -> tuple[bool, str]:
    """Demand more right answers than guessing gives (exact one-sided binomial test)."""
    from scipy.stats import binomtest  # slow to import

    num_right, num_videos = sum(challenger.correct.values()), len(challenger.video_ids)
    chance = 1 / len(challenger.class_names)
    p_value = float(binomtest(num_right, num_videos, chance, alternative="greater").pvalue)
    return p_value < SIGNIFICANCE, (
        f"top-1 {challenger.top1:.3f} of {num_videos} videos against chance {chance:.3f} "
        f"(p = {p_value:.2g})"
    )


def no_worse_than_champion(
    challenger: Judgement, champion: Judgement | None, config: PromotionConfig
) -> tuple[bool, str]:
    """Demand a top-1 gain of at least `min_gain` on the videos both were judged on.

    Reports the exact McNemar p-value: whether the gain could be luck.
    """
    if champion is None:
        return True, f"top-1 {challenger.top1:.3f}; there is no champion to compare with"
    right, champion_right = challenger.correct, champion.correct
    shared = sorted(right.keys() & champion_right.keys())
    if not shared:
        return False, "no video was judged by both challenger and champion"
    paired = compare_paired(
        np.array([right[video] for video in shared]),
        np.array([champion_right[video] for video in shared]),
        seed=0,
    )
    return paired.gain >= config.min_gain, (
        f"top-1 {challenger.top1:.3f} against the champion's {champion.top1:.3f}: "
        f"gain {paired.gain:+.3f}, at least {config.min_gain:+.3f} wanted "
        f"({paired.only_first} won, {paired.only_second} lost, McNemar p = {paired.p_value:.2g})"
    )


RULES: dict[str, Rule] = {
    "same_data_version": same_data_version,
    "knows_all_classes": knows_all_classes,
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
