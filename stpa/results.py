"""What a command answers: tables and sentences on standard output.

Bars, log and errors go to standard error (`stpa.terminal`).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stpa.commands import init_command, open_command, stpa_command
from stpa.presets import DEFAULT, preset_purposes
from stpa.workspace import Workspace

if TYPE_CHECKING:
    from stpa.data.check import DatasetCheck
    from stpa.evaluation.confusions import StreamComparison
    from stpa.params import Change
    from stpa.registry.promotion import Decision
    from stpa.stages.diagnose import Finding
    from stpa.stages.initialise import Initialised
    from stpa.stages.predict import Prediction
    from stpa.stages.search_result import SearchResult
    from stpa.stages.summarise import Summary
    from stpa.stages.unchanged import Retraining

RESULTS = Console(record=True)  # for the log file
_PAIRS_SHOWN = 2
"""Of each stream; the report has more."""


def show_findings(findings: "Iterable[Finding]") -> None:
    """Show what `stpa doctor` found."""
    table = Table("", "what", "finding")
    for finding in findings:
        mark = "[green]ok[/]" if finding.passed else "[red]failed[/]"
        table.add_row(mark, finding.subject, escape(finding.message))
    RESULTS.print(table)


def show_presets() -> None:
    """Show what each preset is for."""
    table = Table("preset", "for")
    for name, purpose in preset_purposes().items():
        table.add_row(f"{name} (default)" if name == DEFAULT else name, escape(purpose))
    RESULTS.print(table)


def show_initialised(workspace: Workspace, done: "Initialised") -> None:
    """Show what `stpa init` did to a workspace's files."""
    if done.made_from:
        line = f"{workspace.params} is made from {done.made_from}; edit it freely"
        RESULTS.print(escape(line), soft_wrap=True)
    elif not (done.changes or done.backups):
        RESULTS.print(escape(f"{workspace.params} stays as it is: nothing changes"), soft_wrap=True)
    show_changes(done.changes)
    for backup in done.backups:
        RESULTS.print(escape(f"the old {backup.stem} is kept as {backup}"), soft_wrap=True)


def show_changes(changes: "Iterable[Change]") -> None:
    """Show parameters whose values change, one per line."""
    for change in changes:
        line = f"{change.key}: {change.old} -> {change.new}"
        RESULTS.print(escape(line), soft_wrap=True, highlight=False)


def show_check(check: "DatasetCheck") -> None:
    """Show what a download lacks: by class, and the first names of each kind."""
    from stpa.data.datasets.base import name_some

    if check.missing:
        table = Table("class", "listed", "missing")
        for label, num_missing in sorted(check.num_missing.items()):
            table.add_row(escape(label), str(check.num_listed[label]), f"[red]{num_missing}[/]")
        RESULTS.print(table)
    num_there = check.num_videos - len(check.missing)
    RESULTS.print(f"{num_there} of {check.num_videos} listed videos are there")
    kinds = {"missing": check.missing, "empty": check.empty, "on no list": check.unlisted}
    for kind, paths in kinds.items():
        if paths:
            names = escape(name_some(paths))
            RESULTS.print(f"{len(paths)} {kind}: {names}", soft_wrap=True)
    for contradiction in check.contradictions:
        RESULTS.print(f"[red]the lists:[/] {escape(contradiction)}", soft_wrap=True)


def show_search(workspace: Workspace, result: "SearchResult") -> None:
    """Show the trials of a search, the best first, and how to train with its values."""
    keys = list(result.trials[0].values)
    names = [escape(key.rpartition(".")[2]) for key in keys]
    table = Table("trial", result.metric, "epochs", *names, "outcome")
    for trial in result.trials:
        figure = f"{trial.figure:.3f}" if trial.figures else "-"
        values = [_short(trial.values[key]) for key in keys]
        outcome = escape(f"{trial.outcome} {trial.reason}".strip())
        table.add_row(str(trial.number), figure, str(trial.epoch), *values, outcome)
    RESULTS.print(table)
    RESULTS.out(
        f"{'unchanged: ' if result.reused else ''}{result.params}, picture: {result.picture}\n"
        f"to train with the best:\n  {init_command(workspace, result.params)}\n"
        f"  {stpa_command(workspace, 'retrain')}",
        highlight=False,
    )


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else escape(str(value))


def show_decision(decision: "Decision") -> None:
    """Show what is served now, the verdict of each rule, and what to do where one failed."""
    table = Table("rule", "passed", "reason")
    for verdict in decision.reasons:
        table.add_row(
            verdict.rule, "yes" if verdict.passed else "[red]no[/]", escape(verdict.reason)
        )
    if decision.reasons:
        RESULTS.print(table)
    served = decision.champion_version
    RESULTS.print(
        f"{decision.outcome}: "
        + ("nothing is served yet" if served is None else f"champion is version {served}")
    )
    for verdict in decision.reasons:
        if verdict.advice:
            RESULTS.print(f"{verdict.rule}: {escape(verdict.advice)}", soft_wrap=True)


def show_prediction(
    prediction: "Prediction", count: int = 5, threshold: float | None = None
) -> None:
    """Show a video's `count` likeliest classes that reach a threshold, and its picture's path."""
    table = Table("class", "probability")
    for name, probability in prediction.best(count):
        if threshold is None or probability >= threshold:
            table.add_row(escape(name), f"{probability:.3f}")
    if table.row_count:
        RESULTS.print(table)
    else:
        RESULTS.print(f"no class reaches {threshold:g}")
    picture = f"; picture: {escape(str(prediction.picture))}" if prediction.picture else ""
    RESULTS.print(f"by {prediction.model}{picture}", soft_wrap=True)


def show_summary(workspace: Workspace, summary: "Summary") -> None:
    """Show the metrics of a retraining, where to read more, and what to run next."""
    title = f"{summary.title} on the test videos, K={summary.num_segments}"
    parts = list(summary.figures[summary.candidate_head])
    table = Table("head", *parts, title=title)
    for head, figures in summary.figures.items():
        table.add_row(head, *[f"{figures[part]:.3f}" for part in parts])
    RESULTS.print(table)
    RESULTS.print(
        f"put up for promotion: {summary.candidate_head}, as {escape(summary.candidate_reason)}; "
        f"streams fused by {escape(summary.fusion)}",
        soft_wrap=True,
    )
    if summary.stream_comparison:
        _show_streams(summary.stream_comparison)
    show_decision(summary.decision)
    RESULTS.out(f"metrics, for programs: {workspace.summary}", highlight=False)
    _show_next(workspace, summary)


def show_unchanged(last: "Retraining", record: Path) -> None:
    """Show that there is nothing to retrain, and how to have everything looked at nevertheless."""
    line = (
        f"unchanged: videos, parameters and code are those of the retraining that ended "
        f"{last.ended} ({last.decision}); remove {record} to have everything looked at again"
    )
    RESULTS.print(escape(line), soft_wrap=True, highlight=False)


def _show_streams(comparison: "StreamComparison") -> None:
    """Show what each stream mixes up, and which videos only their fusion gets right."""
    table = Table("stream", "classes mixed up most", "probability")
    for stream, pairs in comparison.pairs.items():
        for pair in pairs[:_PAIRS_SHOWN]:
            names = escape(f"{pair.first}, {pair.second}")
            table.add_row(stream, names, f"{pair.probability:.2f}")
    RESULTS.print(table)
    *streams, _fused = comparison.pairs
    alone = [f"{stream} alone" for stream in streams]
    table = Table(*alone, "test videos", "right when fused")
    for group in comparison.agreement:
        alone = ("right" if right else "wrong" for right in group.right)
        table.add_row(*alone, str(group.num_videos), str(group.num_fused_right))
    RESULTS.print(table)


def _show_next(workspace: Workspace, summary: "Summary") -> None:
    """Show commands as they can be copied, each below what it is for."""
    rejected = summary.decision.outcome == "rejected"
    challenger = ["--challenger"] if rejected else []
    model = "the rejected challenger" if rejected else "the champion"
    report = open_command(workspace.report)
    steps = {
        f"try {model} on a test clip": stpa_command(
            workspace, "predict", summary.example, *challenger
        ),
        "look at runs and models": stpa_command(workspace, "ui"),
        f"read the report{'' if report else ', in a browser'}": report or str(workspace.report),
    }
    for purpose, line in steps.items():
        RESULTS.out(f"{purpose}:\n  {line}", highlight=False)
