"""Promotion rules: each is a function of two judgements, and one entry in `RULES`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from stpa.config import PromotionConfig
from stpa.errors import ConfigError
from stpa.registry.judgement import Judgement

SIGNIFICANCE = 0.05


class Ruling(NamedTuple):
    """What a rule says of a challenger."""

    passed: bool
    reason: str
    """Why, for a person to read."""
    advice: str = ""
    """What that person can do, in one sentence; empty where the rule is passed."""


@dataclass(frozen=True)
class Verdict:
    """The ruling of one rule, by its name."""

    rule: str
    passed: bool
    reason: str
    advice: str = ""


Rule = Callable[[Judgement, Judgement | None, PromotionConfig], Ruling]
"""(challenger, champion or none yet, limits) -> ruling."""


def same_data_version(
    challenger: Judgement, champion: Judgement | None, config: PromotionConfig
) -> Ruling:
    """Demand that both were judged on the same videos: else their figures do not compare."""
    if champion is None:
        return Ruling(True, f"the first model, judged on data {challenger.data_version}")
    same = (challenger.data_version, set(challenger.video_ids)) == (
        champion.data_version,
        set(champion.video_ids),
    )
    reason = (
        f"challenger judged on data {challenger.data_version} "
        f"({len(challenger.video_ids)} videos), champion on {champion.data_version} "
        f"({len(champion.video_ids)} videos)"
    )
    return Ruling(
        same, reason, "" if same else "Retrain again: both are then judged on equal data."
    )


def knows_all_classes(
    challenger: Judgement, champion: Judgement | None, config: PromotionConfig
) -> Ruling:
    """Demand that no class which is served today is lost."""
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


def has_learnt(
    challenger: Judgement, champion: Judgement | None, config: PromotionConfig
) -> Ruling:
    """Demand that a network's training got below the loss of guessing (`stpa.training.learning`),
    and that test videos are given more than one class.

    One stream may know nothing by the nature of the classes, as a single frame does of a swipe's
    direction; what its scores do to the fusion is judged by the rules on the fusion's figure.
    """
    if answer := challenger.only_answer:
        return Ruling(
            False,
            f"all {len(challenger.video_ids)} test videos are given the same class, {answer}",
            "See in the report which stream does so. If its training went well, the test clips "
            "differ from the training ones: set evaluate.num_segments near train.num_segments.",
        )
    if not challenger.failed:
        return Ruling(True, "every network learnt from its training videos")
    if challenger.learnt:
        learnt, failed = " and ".join(challenger.learnt), " and ".join(challenger.failed)
        return Ruling(True, f"{learnt} learnt; {failed} did not (see the report)")
    problems = " ".join(f"{name}: {problem}." for name, problem in challenger.failed.items())
    return Ruling(False, problems, "Change what the reason names, and retrain.")


def above_chance(
    challenger: Judgement, champion: Judgement | None, config: PromotionConfig
) -> Ruling:
    """Demand more than guessing gives, by a one-sided test (`Judgement.against_chance`), and more
    than an answer that is always the same."""
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
            f"It may be better than chance, but {num_videos} test videos do not show it: add clips "
            "of more recordings, or train for more epochs.",
        )
    return Ruling(
        False,
        reason,
        "It has not learnt the classes: see in the report what is mixed up, then add clips of more "
        "recordings, train for more epochs, or start from pretrained weights (model.pretrained).",
    )


def no_worse_than_champion(
    challenger: Judgement, champion: Judgement | None, config: PromotionConfig
) -> Ruling:
    """Demand a gain of at least `min_gain` on the videos both were judged on.

    Reports how sure it is: whether the gain could be luck.
    """
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
    passed = paired.gain >= config.min_gain
    return Ruling(
        passed,
        f"{figure} against the champion's {champion.figure:.3f}: "
        f"gain {paired.gain:+.3f}, at least {config.min_gain:+.3f} wanted ({paired.describe()})",
        "" if passed else "Nothing needs to be done: the champion stays, and is still served.",
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
