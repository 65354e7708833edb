"""Figures compare only on equal videos."""

from dataclasses import dataclass

from stpa.registry.judgement import Judgement
from stpa.registry.rules.base import Rule, Ruling


@dataclass(frozen=True)
class SameDataVersion(Rule):
    """Demand that both were judged on the same videos: else their figures do not compare."""

    def __call__(self, challenger: Judgement, champion: Judgement | None) -> Ruling:
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
