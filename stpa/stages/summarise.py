"""Write what a retraining came to: figures for a program, a report for a person."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from stpa.evaluation.confusions import StreamComparison
from stpa.evaluation.examples import Example
from stpa.evaluation.fusion import FUSED
from stpa.evaluation.judging import TITLES
from stpa.evaluation.report import Reason, Report, TrainingProblem, write_report
from stpa.evaluation.scores import Scores
from stpa.evaluation.significance import PairedComparison
from stpa.files import write_json
from stpa.registry.candidate import Candidate
from stpa.registry.lineage import collect_lineage
from stpa.registry.promotion import Decision, Outcome
from stpa.registry.tracking import Tracker, open_tracker
from stpa.stages.candidate import gather_candidate
from stpa.stages.evaluate import find_scores, track_scores
from stpa.stages.examples import example_videos, explain_videos
from stpa.stages.fuse import fuse
from stpa.stages.notices import report_address
from stpa.stages.plan import Plan
from stpa.stages.tracked_metrics import TEST, tracked_values_of_k
from stpa.stages.train import find_trained


@dataclass(frozen=True)
class Summary:
    """The figures of one retraining, on the test videos."""

    num_segments: int
    """The headline K."""
    headline: str
    """The name in `TITLES` of the figure that these are."""
    figures: dict[str, dict[str, float]]
    """By head and by stream, "fused" being one, at the headline K."""
    candidate_head: str
    """The head that stood for promotion."""
    candidate_reason: str
    fusion: str
    """How its streams were fused."""
    k_sweep: dict[str, dict[int, float]]
    """The candidate head's figure by stream and K."""
    decision: Decision
    data_version: str
    seconds: float
    stream_comparison: StreamComparison | None
    """What the candidate's streams can tell apart; None where videos have several labels."""
    example: Path
    """A test video, to try the result on."""
    report_address: str | None
    """Of the page of MLflow that shows the report; None where MLflow lacks the fusion's run."""

    @property
    def title(self) -> str:
        """What the figure is called in a table."""
        return TITLES[self.headline]

    def to_dict(self) -> dict:
        """Return the values of summary.json."""
        candidate = self.figures[self.candidate_head]
        baselines = {
            f"{head}_{stream}_{self.headline}": value
            for head, values in self.figures.items()
            if head != self.candidate_head
            for stream, value in values.items()
        }
        return {
            **{f"{stream}_{self.headline}": value for stream, value in candidate.items()},
            **baselines,
            "candidate_head": self.candidate_head,
            "candidate_reason": self.candidate_reason,
            "late_fusion": self.fusion,
            "num_segments": self.num_segments,
            "k_sweep": self.k_sweep,
            "outcome": self.decision.outcome.value,
            "champion_version": self.decision.champion_version,
            "data_version": self.data_version,
            "seconds": round(self.seconds, 1),
        }


def summarise(plan: Plan, decision: Decision, seconds: float) -> Summary:
    """Gather the metrics of all compared heads; write, and track, summary.json and the report."""
    workspace, config = plan.workspace, plan.config
    tracker = open_tracker(workspace, config.tracking)
    candidate = gather_candidate(plan)
    run_id = tracker.find_run(candidate.key)
    scores = [part for head in config.heads for part in _all_scores(plan, head)]
    k = config.evaluate.num_segments
    figures: dict[str, dict[str, float]] = {}
    for part in scores:
        figures.setdefault(part.head, {})[part.stream] = part.headline(k)
    *streams, fused = parts = [part for part in scores if part.head == candidate.head]
    videos = example_videos(plan, streams, fused)
    examples = explain_videos(plan, candidate.head, candidate.fusion, videos)
    report = _compose_report(plan, candidate, decision, scores, examples)
    summary = Summary(
        candidate_head=candidate.head,
        candidate_reason=candidate.reason,
        fusion=str(candidate.fusion),
        num_segments=k,
        headline=fused.judging.headline,
        figures=figures,
        k_sweep={
            part.stream: {each: part.headline(each) for each in sorted(part.logits)}
            for part in parts
        },
        decision=decision,
        data_version=report.data_version,
        seconds=seconds,
        stream_comparison=report.stream_comparison,
        example=workspace.videos / videos[0].path,
        report_address=run_id and report_address(tracker, run_id, workspace),
    )
    write_json(workspace.summary, summary.to_dict())
    write_report(workspace.report, report)
    if run_id is not None:
        _track(tracker, run_id, plan, report, decision)
    return summary


def _compose_report(
    plan: Plan,
    candidate: Candidate,
    decision: Decision,
    scores: Sequence[Scores],
    examples: Sequence[Example],
) -> Report:
    config = plan.config
    return Report(
        title=config.promotion.model_name,
        scores=scores,
        candidate_head=candidate.head,
        candidate_reason=candidate.reason,
        num_segments=config.evaluate.num_segments,
        late_fusion=str(candidate.fusion),
        decision=decision.sentence,
        rejected=decision.outcome is Outcome.REJECTED,
        reasons=[
            Reason(each.rule, each.passed, each.reason, each.advice) for each in decision.reasons
        ],
        training_problems=_training_problems(plan),
        data_version=plan.data.id,
        git_commit=collect_lineage(plan.data)["git.commit"],
        parameters=yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False),
        seed=config.train.seed,
        examples=examples,
    )


def _track(
    tracker: Tracker,
    run_id: str,
    plan: Plan,
    report: Report,
    decision: Decision,
) -> None:
    """Keep what was found with the fusion's run; an unchanged one may lack it after a kill."""
    workspace = plan.workspace
    unchanged = decision.outcome is Outcome.UNCHANGED
    if not unchanged or tracker.read_text(run_id, workspace.report.name) is None:
        tracker.log_files(run_id, workspace.summary)
        tracker.log_files(run_id, workspace.report)
    fused, evaluate = report.candidate, plan.config.evaluate
    if not fused.logits.keys() <= tracked_values_of_k(tracker, run_id, fused, evaluate):
        against = _against_baselines(report)
        tracker.set_metrics(run_id, {f"{TEST}/{name}": value for name, value in against.items()})
        track_scores(tracker, run_id, fused, f"{fused.stream}-{fused.head}.parquet", evaluate)


def _against_baselines(report: Report) -> dict[str, float]:
    """Return each baseline's fused headline, and the paired test of the candidate against it."""
    tests = {row.head: row.paired for row in report.comparisons if row.stream == FUSED}
    figures = {}
    for scores in report.scores:
        if scores.stream == FUSED and scores.head in tests:
            head, paired = scores.head, tests[scores.head]
            figures |= {
                f"{head}_fused_{scores.judging.headline}": scores.headline(report.num_segments),
                f"gain_over_{head}": paired.gain,
                f"gain_over_{head}_low": paired.gain_interval.low,
                f"gain_over_{head}_high": paired.gain_interval.high,
            }
            if isinstance(paired, PairedComparison):
                figures[f"p_value_against_{head}"] = paired.p_value
    return figures


def _training_problems(plan: Plan) -> list[TrainingProblem]:
    return [
        TrainingProblem(network.stream.name, network.head, problem.message, problem.has_learnt)
        for network in plan.networks
        for problem in find_trained(network).problems
    ]


def _all_scores(plan: Plan, head: str) -> list[Scores]:
    streams = [find_scores(network) for network in plan.of_head(head)]
    return [*streams, fuse(plan, head)]
