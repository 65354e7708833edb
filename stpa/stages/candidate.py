"""Put up the networks trained from today's inputs, fused and judged, for promotion."""

from collections.abc import Iterable

from stpa.data.manifest import read_manifest
from stpa.evaluation.scores import Scores
from stpa.files import digest_value
from stpa.registry.candidate import Candidate, TrainedStream
from stpa.registry.judgement import Judgement, judge_scores
from stpa.stages.choose import choose_head
from stpa.stages.fuse import fuse_by
from stpa.stages.plan import Plan
from stpa.stages.train import TrainedModel, find_trained
from stpa.workspace import Workspace


def gather_candidate(plan: Plan) -> Candidate:
    """Return the candidate. Raises StpaError when a stream is not trained or not evaluated yet."""
    head, fusion, reason = choose_head(plan)
    models = [find_trained(network) for network in plan.of_head(head)]
    fused = fuse_by(fusion, plan, head)
    evaluate = plan.config.evaluate
    num_segments, num_crops = evaluate.num_segments, evaluate.num_crops
    determinants = {
        "networks": {model.network.stream.name: model.network.key for model in models},
        "late_fusion": fusion.name,
        "num_segments": num_segments,
        "num_crops": num_crops,
        "data": fused.data_version,
    }
    if fusion.weights is not None:
        determinants["fusion_weights"] = fusion.weights
    return Candidate(
        key=digest_value(determinants),
        networks={
            model.network.stream: TrainedStream(model.folder, model.run_id) for model in models
        },
        head=head,
        reason=reason,
        fusion=fusion,
        num_segments=num_segments,
        num_crops=num_crops,
        judgement=_judgement(plan.workspace, fused, num_segments, models),
    )


def _judgement(
    workspace: Workspace, fused: Scores, num_segments: int, models: Iterable[TrainedModel]
) -> Judgement:
    group_of = read_manifest(workspace.manifest).group_of
    failures = {
        model.network.name: [each for each in model.problems if not each.has_learnt]
        for model in models
    }
    return judge_scores(
        fused.at(num_segments),
        [tuple(fused.class_names[place] for place in row.nonzero()[0]) for row in fused.labels],
        multi_label=fused.multi_label,
        data_version=fused.data_version,
        class_names=fused.class_names,
        video_ids=fused.video_ids,
        groups=tuple(group_of[video_id] for video_id in fused.video_ids),
        failed={name: "; ".join(map(str, found)) for name, found in failures.items() if found},
        learnt=tuple(name for name, found in failures.items() if not found),
    )
