"""`stpa predict`: what a registered model answers for videos, one or thousands."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from stpa.cli.workspace import ChallengerOption, WorkspaceOption, open_part
from stpa.errors import UsageError
from stpa.params.parts import PredictParams
from stpa.registry.reference import check_reference
from stpa.results import RESULTS, show_prediction
from stpa.serving.result import Result
from stpa.serving.result_file import ResultFile, check_result_file, read_rows
from stpa.serving.rows import Row, columns_of, is_done, row_of
from stpa.serving.sources import Source, find_sources
from stpa.terminal import TERMINAL
from stpa.workspace import Workspace


@dataclass(frozen=True)
class _Options:
    """What is to be done with each video."""

    out: Path | None
    as_json: bool
    top: int
    threshold: float | None
    picture: Path | None
    draws: bool
    reference: str | None
    challenger: bool

    def check(self) -> None:
        """Raise UsageError where options are wrong, or contradict each other."""
        if self.picture and not self.draws:
            raise UsageError("--picture and --no-picture contradict each other: give one of them")
        if self.reference and self.challenger:
            raise UsageError("--model and --challenger name two models: give one of them")
        if self.reference:
            check_reference(self.reference)
        if self.out:
            check_result_file(self.out)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of each row."""
        return columns_of(self.top)

    @property
    def picture_is_file(self) -> bool:
        """Whether `picture` names a file, and no folder."""
        return self.picture is not None and bool(self.picture.suffix) and not self.picture.is_dir()


def predict(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Videos: files, folders, patterns, .txt lists of paths, http(s):// or s3:// "
            "addresses, or - for paths on standard input."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Write a row per video to this .csv, .jsonl or .parquet file."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON per video on standard output.")
    ] = False,
    top: Annotated[int, typer.Option(min=1, help="Classes per video, the best first.")] = 5,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="The least probability of an answer. Where a video may have any number of "
            "labels, all that reach it are the answer.",
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            help="Where to draw what decided: a file for one video, or a folder. Default: next to "
            "the report for one video, none for several."
        ),
    ] = None,
    no_picture: Annotated[bool, typer.Option("--no-picture", help="Draw nothing.")] = False,
    model: Annotated[
        str | None,
        typer.Option(help="NAME@ALIAS or NAME/VERSION of a registered model, for the champion."),
    ] = None,
    challenger: ChallengerOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list the videos that would be read.")
    ] = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Name the action in videos by the champion, and draw what decided.

    A file of --out is continued where it ends. The exit code is 1 where a video could not be read,
    and 2 for wrong arguments.
    """
    place, params = open_part(workspace, PredictParams)
    options = _Options(out, as_json, top, threshold, picture, not no_picture, model, challenger)
    options.check()
    found = find_sources(sources, sys.stdin)
    if dry_run:
        rows = read_rows(out, options.columns) if out else []
        _list(found, _find_done(place, params, found, rows, options))
    elif len(found) == 1 and not (out or as_json):
        _predict_one(place, params, found[0], options)
    elif options.picture_is_file:
        raise UsageError(f"{picture} is one file: for the pictures of a batch, name a folder")
    else:
        _predict_many(place, params, found, options)


def _list(sources: Iterable[Source], done: Mapping[Source, Row]) -> None:
    for source in sources:
        if source not in done:
            reason = f": {source.error}" if source.error else ""
            RESULTS.out(f"{source.name}{reason}", highlight=False)


def _predict_one(
    workspace: Workspace, params: PredictParams, source: Source, options: _Options
) -> None:
    from stpa.stages.predict import predict as run

    picture = options.picture
    if picture is not None and not options.picture_is_file:
        picture /= f"{source.stem}.png"
    with TERMINAL.console.status(f"looking at {escape(source.file_name)}"):
        prediction = run(
            workspace,
            params,
            source.path,
            picture,
            reference=options.reference,
            challenger=options.challenger,
            draw=options.draws,
        )
    show_prediction(prediction, options.top, options.threshold)


def _predict_many(
    workspace: Workspace, params: PredictParams, sources: Sequence[Source], options: _Options
) -> None:
    """Put the result of each source where the options want it: a file, JSON, or a table."""
    with ExitStack() as stack:
        file = None
        if options.out:
            file = stack.enter_context(closing(ResultFile(options.out, options.columns)))
        done = _find_done(workspace, params, sources, file.rows if file else [], options)
        remaining = [source for source in sources if source not in done]
        num_failed = 0  # of these alone: what could not be read before is tried again
        results: dict[Source, Result] = {}
        for source, result, model in _predict_each(workspace, params, remaining, options):
            num_failed += result.error is not None
            row = row_of(result, source, model, options.columns)
            if file:
                file.append([row])
            if options.as_json:
                typer.echo(json.dumps(row, ensure_ascii=False))
            if not (file or options.as_json):
                results[source] = result
    if results:
        _show_table(results[source] for source in sources)
    _conclude(len(sources), len(done), num_failed, options.out)
    if num_failed:
        raise typer.Exit(1)


def _predict_each(
    workspace: Workspace, params: PredictParams, sources: Sequence[Source], options: _Options
) -> Iterator[tuple[Source, Result, str]]:
    """Yield each source with its result and the model's name, as it is done."""
    if not sources:
        return
    from stpa.serving.load import load_registered

    with TERMINAL.console.status("loading the model"):
        classifier = load_registered(
            workspace,
            params,
            reference=options.reference,
            challenger=options.challenger,
            num_processes=min(len(sources), len(os.sched_getaffinity(0))),
        )
        # It imports torch, which `load_registered` does once the decoding processes have started.
        from stpa.stages.predict import name_pictures, predict_each
    pictures = name_pictures(sources, options.picture) if options.picture else None
    with closing(classifier), TERMINAL.bar("predict") as progress:
        for source, result in predict_each(
            classifier, sources, options.threshold, pictures, progress
        ):
            yield source, result, classifier.model


def _find_done(
    workspace: Workspace,
    params: PredictParams,
    sources: Iterable[Source],
    rows: Sequence[Row],
    options: _Options,
) -> dict[Source, Row]:
    """Return the sources that `rows` have the model's answer for, with the latest row of each."""
    if not rows:
        return {}
    from stpa.registry.tracking import open_tracker
    from stpa.serving.load import find_registered, name_of

    version, _title = find_registered(
        open_tracker(workspace, params.tracking),
        params.promotion.model_name,
        options.reference,
        challenger=options.challenger,
    )
    latest = {row["path"]: row for row in rows}
    return {
        source: latest[source.name]
        for source in sources
        if source.name in latest and is_done(latest[source.name], source, name_of(version))
    }


def _show_table(results: Iterable[Result]) -> None:
    table = Table("video", "label", "probability")
    for result in results:
        if result.error is None:
            answer = escape(result.label), f"{result.probability:.3f}"
        else:
            answer = f"[red]{escape(result.error)}[/]", ""
        table.add_row(escape(result.path), *answer)
    RESULTS.print(table)


def _conclude(num_sources: int, num_done: int, num_failed: int, out: Path | None) -> None:
    """Print, on standard error, how many videos have an answer."""
    line = f"{num_sources - num_failed} of {num_sources} videos have an answer"
    if num_done:
        line += f", {num_done} from before"
    if num_failed:
        line += f"; {num_failed} could not be read"
    TERMINAL.console.print(escape(f"{line}{f': {out}' if out else ''}"), soft_wrap=True)
