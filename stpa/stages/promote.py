"""Register the trained networks and their fusion, and let the rules decide which is served."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from stpa.config import Config
from stpa.data.versioning import DataVersion
from stpa.errors import RegistryError
from stpa.params.parts import RollbackParams
from stpa.progress import ReportProgress, silent
from stpa.registry import promotion
from stpa.registry.aliases import fusion_model, run_tag, stream_model, version_tag
from stpa.registry.candidate import Candidate, Serving, read_serving
from stpa.registry.judgement import Judgement, read_judgement
from stpa.registry.lineage import collect_lineage, run_name
from stpa.registry.promotion import Decision, Outcome
from stpa.registry.rules import make_rules
from stpa.registry.tracking import DESCRIPTION_TAG, Dataset, Tracker, Version, open_tracker
from stpa.stages.candidate import gather_candidate
from stpa.stages.evaluate import judge_served
from stpa.stages.notices import note_move, note_rejection
from stpa.stages.plan import Plan
from stpa.stages.tracked_metrics import TEST
from stpa.streams import STREAMS
from stpa.workspace import Workspace

JudgeServed = Callable[[Mapping[str, Path], Serving], Judgement]
"""(model folders by stream, how they serve) -> judgement on today's data version."""

_logger = logging.getLogger(__name__)


def promote(plan: Plan, progress: ReportProgress = silent) -> Decision:
    """Put the networks of a plan, and their fusion, up for promotion."""
    return promote_candidate(
        plan.workspace,
        plan.config,
        gather_candidate(plan),
        plan.data,
        partial(judge_served, plan),
        progress,
    )


def promote_candidate(
    workspace: Workspace,
    config: Config,
    candidate: Candidate,
    data: DataVersion,
    judge: JudgeServed,
    progress: ReportProgress = silent,
) -> Decision:
    """Register `candidate` once, compare it with the champion, and record the decision.

    The champion is judged by `judge` unless its judgement on this data version is on record.
    """
    make_rules(config.promotion.rules)  # an unknown one is told before anything is registered
    tracker = open_tracker(workspace, config.tracking)
    judgement = candidate.judgement
    run_id = _open_run(tracker, config, candidate, data)
    try:
        tracker.log_dataset(
            run_id,
            Dataset(workspace.name, "test", data, len(judgement.video_ids), judgement.class_names),
        )
        _write_judgement(tracker, run_id, judgement)
        tracker.set_metrics(run_id, {f"{TEST}/{judgement.headline}": judgement.figure})
        challenger = _register(tracker, config, candidate, run_id, progress)

        def judge_champion(champion: Version) -> Judgement:
            return _judge_champion(tracker, champion, workspace, judgement.data_version, judge)

        model_name = config.promotion.model_name
        decision = promotion.promote(
            tracker,
            challenger,
            judgement,
            judge_champion,
            config.promotion,
            partial(note_move, tracker, workspace, model_name),
        )
        if decision.outcome is Outcome.REJECTED:
            note_rejection(tracker, workspace, model_name, challenger, decision)
    except BaseException:
        tracker.close_run(run_id, failed=True)
        raise
    tracker.close_run(run_id)
    num_steps = _num_steps(candidate)
    progress(num_steps, num_steps)
    return decision


def rollback(workspace: Workspace, params: RollbackParams) -> Decision:
    """Serve the champion before this one again."""
    tracker, model_name = open_tracker(workspace, params.tracking), params.promotion.model_name
    on_moved = partial(note_move, tracker, workspace, model_name)
    return promotion.rollback(tracker, model_name, on_moved)


def _num_steps(candidate: Candidate) -> int:
    return len(candidate.networks) + 2  # the networks, their fusion, the decision


def _open_run(tracker: Tracker, config: Config, candidate: Candidate, data: DataVersion) -> str:
    """Return the id of the fusion's run, with the runs of its networks below it."""
    networks = {stream: network.run_id for stream, network in candidate.networks.items()}
    # A network that an earlier fusion has is shown below that one, so this one links to it.
    links = ", ".join(f"[{stream}]({tracker.run_page(run)})" for stream, run in networks.items())
    run_id = tracker.open_run(
        candidate.key,
        run_name(
            *("fusion", candidate.head),
            key=candidate.key,
            backbone=config.model.backbone,
            data_version=data.id,
        ),
        config.model_dump(mode="json"),
        collect_lineage(data)
        | {run_tag(stream.name): run for stream, run in networks.items()}
        | {DESCRIPTION_TAG: f"Fuses the networks of the runs {links}."},
    )
    for run in networks.values():
        tracker.nest_run(run, run_id)
    return run_id


def _register(
    tracker: Tracker, config: Config, candidate: Candidate, run_id: str, progress: ReportProgress
) -> Version:
    """Register all networks and the fusion that names them; return the fusion's version."""
    name, judgement = config.promotion.model_name, candidate.judgement
    serving = Serving(
        class_names=judgement.class_names,
        num_segments=candidate.num_segments,
        num_crops=candidate.num_crops,
        optical_flow=config.optical_flow,
    )
    tags = {"stpa.data_version": judgement.data_version}
    folders = {stream.name: network.folder for stream, network in candidate.networks.items()}
    versions: dict[str, int] = {}
    for stream, network in candidate.networks.items():
        progress(len(versions), _num_steps(candidate))
        versions[stream.name] = tracker.register_model(
            stream_model(name, stream.name),
            network.run_id,
            {stream.name: network.folder},
            serving.model_dump(mode="json"),
            tags,
        ).number
    progress(len(versions), _num_steps(candidate))
    fused = serving.model_copy(
        update={
            "late_fusion": candidate.fusion.name,
            "fusion_weights": candidate.fusion.weights,
            "versions": versions,
        }
    )
    tags |= {version_tag(name): str(number) for name, number in versions.items()}
    tags |= {
        "stpa.late_fusion": str(candidate.fusion),
        "stpa.head": candidate.head,
        "stpa.num_segments": str(candidate.num_segments),
        "stpa.class_names": ", ".join(judgement.class_names),
        f"stpa.{judgement.headline}": f"{judgement.figure:.4f}",
    }
    return tracker.register_model(
        fusion_model(name), run_id, folders, fused.model_dump(mode="json"), tags
    )


def _judge_champion(
    tracker: Tracker,
    champion: Version,
    workspace: Workspace,
    data_version: str,
    judge: JudgeServed,
) -> Judgement:
    """Return the champion's judgement on `data_version`: the recorded one, or a new one."""
    recorded = tracker.read_text(champion.run_id, _judgement_file(data_version))
    if recorded is not None:
        try:
            return read_judgement(recorded)
        except ValidationError:
            _logger.warning("judging %s again: its record is broken", champion.name)
    model = tracker.download_model(champion, workspace.registered)
    serving = read_serving(model.serving, f"{champion.name} version {champion.number}")
    if serving.late_fusion is None or not set(model.networks) <= set(STREAMS):
        raise RegistryError(
            f"{champion.name} version {champion.number} at {tracker.place} is not a fusion of "
            "known streams: delete its alias champion in MLflow"
        )
    judgement = judge(model.networks, serving)
    _write_judgement(tracker, champion.run_id, judgement)
    return judgement


def _write_judgement(tracker: Tracker, run_id: str, judgement: Judgement) -> None:
    tracker.log_text(run_id, judgement.model_dump_json(), _judgement_file(judgement.data_version))


def _judgement_file(data_version: str) -> str:
    return f"judgements/{data_version}.json"
