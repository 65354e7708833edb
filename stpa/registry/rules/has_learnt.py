"""A model that has learnt nothing is not served."""

from dataclasses import dataclass

from stpa.registry.judgement import Judgement
from stpa.registry.rules.base import Rule, Ruling


@dataclass(frozen=True)
class HasLearnt(Rule):
    """Demand that a network's training got below the loss of guessing (`stpa.training.learning`),
    and that test videos are given more than one class.

    One stream may know nothing by the nature of the classes, as a single frame does of a swipe's
    direction; what its scores do to the fusion is judged by the rules on the fusion's figure.
    """

    def __call__(self, challenger: Judgement, champion: Judgement | None) -> Ruling:
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
