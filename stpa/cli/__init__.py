"""The command line: each command is one stage, or the flow that runs several."""

import atexit
import errno
import gc
import sys
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from stpa.cli.attention import attention
from stpa.cli.data import data_app
from stpa.cli.deploy import deploy
from stpa.cli.init import init
from stpa.cli.jobs import INTERRUPTED, AttachOption, StopOption, attend_job, submit_job
from stpa.cli.localise import localise
from stpa.cli.predict import predict
from stpa.cli.search import search
from stpa.cli.workspace import (
    HeadOption,
    StreamOption,
    WorkspaceOption,
    answer_unchanged,
    at_work,
    chosen_heads,
    chosen_streams,
    given_options,
    open_part,
    open_workspace,
)
from stpa.errors import InterruptedTrainingError, StpaError, UsageError, one_line
from stpa.flows.server import keep_records, start_server
from stpa.local_server import MLFLOW_PORT, PREFECT_PORT
from stpa.params.parts import PagesParams, RollbackParams
from stpa.results import RESULTS, show_decision, show_findings, show_summary
from stpa.terminal import TERMINAL, log_to_terminal
from stpa.version import package_version
from stpa.workspace import Workspace, require_room

if TYPE_CHECKING:
    from stpa.evaluation.scores import Scores

app = typer.Typer(
    help="Train, judge and ship video action classifiers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(data_app, name="data")
app.command()(init)
app.command()(search)
app.command()(localise)
app.command()(attention)
app.command()(predict)
app.command()(deploy)

WRONG_ARGUMENTS = 2
"""The exit code that typer has for them too."""

SourceArgument = Annotated[
    Path | None, typer.Argument(help="A folder of videos; default: data.source.")
]


def main() -> None:
    """Run the command line; one line an error, unless --debug asks for the traceback."""
    _spare_garbage_collection()
    arguments = sys.argv[1:]
    if debug := "--debug" in arguments:  # typer itself takes it before the command alone
        arguments = ["--debug", *(argument for argument in arguments if argument != "--debug")]
    try:
        app(arguments)
    except InterruptedTrainingError as error:
        TERMINAL.console.print(escape(one_line(error)), soft_wrap=True)
        sys.exit(INTERRUPTED)
    except Exception as error:
        if debug:
            raise
        TERMINAL.console.print(f"[red]error:[/] {escape(_one_line(error))}", soft_wrap=True)
        sys.exit(WRONG_ARGUMENTS if isinstance(error, UsageError) else 1)


def _show_version(wanted: bool) -> bool:
    if wanted:
        RESULTS.print(f"stpa {package_version()}", highlight=False)
        raise typer.Exit
    return wanted


@app.callback()
def _start(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and more log.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    log_to_terminal(debug)


@app.command()
def doctor(workspace: WorkspaceOption = Path()) -> None:
    """Try what the pipeline needs: programs, parameters, services, room on the disk."""
    from stpa.stages.diagnose import diagnose

    findings = diagnose(Workspace(workspace))
    show_findings(findings)
    if not all(finding.passed for finding in findings):
        raise typer.Exit(1)


@app.command()
def ingest(
    source: SourceArgument = None,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Bring videos in, decode each one once, and version the dataset."""
    from stpa.stages.ingest import ingest as run

    place, config = open_workspace(workspace)
    with at_work(place, "ingest"):
        with TERMINAL.bar("ingest videos") as progress:
            result = run(place, config, source, progress)
        manifest = result.manifest
        RESULTS.print(
            f"{len(manifest.videos)} videos of {len(manifest.class_names)} classes: "
            f"{len(manifest.select('train'))} to train, {len(manifest.select('test'))} to test, "
            f"{len(manifest.quarantined)} quarantined; "
            f"{result.num_come} came, {result.num_left} left"
        )


@app.command()
def extract(
    workspace: WorkspaceOption = Path(),
    untracked: Annotated[
        bool, typer.Option(help="Only extract: what dvc.yaml runs; DVC records it.")
    ] = False,
) -> None:
    """Store the optical flow of every video that lacks it."""
    from stpa.stages.extract import extract as run
    from stpa.stages.extract import extract_untracked

    place, config = open_workspace(workspace)
    with at_work(place, "extract"), TERMINAL.bar("extract optical flow") as progress:
        if untracked:
            extract_untracked(place, config, progress)
        else:
            run(place, config, progress)


@app.command()
def features(workspace: WorkspaceOption = Path()) -> None:
    """Compute what the pretrained backbone makes of each video, once, for heads to learn from."""
    from stpa.stages.features import store_features

    place, config = open_workspace(workspace)
    with at_work(place, "features"), TERMINAL.bar("store features") as progress:
        store_features(place, config, progress)


@app.command()
def train(
    stream: StreamOption = None,
    head: HeadOption = None,
    attach: AttachOption = False,
    stop: StopOption = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Train networks on the Ray cluster, all streams at once where it has room for them.

    Killed and run again, each goes on from its last checkpoint.
    """
    place, config = open_workspace(workspace)
    heads, streams = chosen_heads(config, head), chosen_streams(config, stream)
    arguments = given_options(stream=stream, head=head)
    if attend_job(place, config, "train", arguments, attach=attach, stop=stop):
        return
    if submit_job(place, config, "train", arguments):
        return
    with at_work(place, "train"):
        require_room(place)
        server = start_server(place.prefect)
        from stpa.flows.train import train as train_flow

        with server:
            models = train_flow(place.root, heads, [stream.name for stream in streams])
        for model in models:
            RESULTS.print(f"{'unchanged: ' if model.reused else ''}{model.folder}")


@app.command()
def evaluate(
    stream: StreamOption = None, head: HeadOption = None, workspace: WorkspaceOption = Path()
) -> None:
    """Score the test videos at every K of the sweep."""
    from stpa.stages.evaluate import evaluate as run
    from stpa.stages.plan import make_plan

    place, config = open_workspace(workspace)
    table = Table("head", "stream", *[f"K={k}" for k in sorted(config.evaluate.sweep)])
    networks = product(chosen_heads(config, head), chosen_streams(config, stream))
    with at_work(place, "evaluate"):
        plan = make_plan(place, config)
        for chosen_head, chosen_stream in networks:
            network = plan.network(chosen_stream, chosen_head)
            with TERMINAL.bar(f"evaluate {network.name}") as progress:
                scores = run(plan, network, progress)
            table.add_row(chosen_head, chosen_stream.name, *_by_k(scores))
        RESULTS.print(table)


@app.command()
def fuse(head: HeadOption = None, workspace: WorkspaceOption = Path()) -> None:
    """Fuse the streams' scores by evaluate.late_fusion."""
    from stpa.stages.fuse import fuse as run
    from stpa.stages.plan import make_plan

    place, config = open_workspace(workspace)
    table = Table("head", *[f"K={k}" for k in sorted(config.evaluate.sweep)])
    heads = chosen_heads(config, head)
    plan = make_plan(place, config)
    for chosen in heads:
        scores = run(plan, chosen)
        table.add_row(chosen, *_by_k(scores))
    RESULTS.print(table)


@app.command()
def promote(workspace: WorkspaceOption = Path()) -> None:
    """Register the networks and their fusion; serve them if they pass the rules."""
    from stpa.stages.delivery import deliver_notices
    from stpa.stages.plan import make_plan
    from stpa.stages.promote import promote as run

    place, config = open_workspace(workspace)
    with at_work(place, "promote"):
        with TERMINAL.bar("register and judge") as progress:
            decision = run(make_plan(place, config), progress)
        show_decision(decision)
        deliver_notices(place)


@app.command()
def rollback(workspace: WorkspaceOption = Path()) -> None:
    """Serve the champion before this one again."""
    from stpa.stages.delivery import deliver_notices
    from stpa.stages.promote import rollback as run

    place, params = open_part(workspace, RollbackParams)
    with at_work(place, "rollback"):
        show_decision(run(place, params))
        deliver_notices(place)


@app.command()
def retrain(
    source: SourceArgument = None,
    attach: AttachOption = False,
    stop: StopOption = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Run all of it: ingest, extract, train, evaluate, fuse, promote, report."""
    if not (attach or stop) and answer_unchanged(Workspace(workspace), source):
        return
    place, config = open_workspace(workspace)
    arguments = () if source is None else (str(source.resolve()),)
    if attend_job(place, config, "retrain", arguments, attach=attach, stop=stop):
        return
    if submit_job(place, config, "retrain", arguments):
        return
    with at_work(place, "retrain"):
        require_room(place)
        server = start_server(place.prefect)
        from stpa.flows.retrain import retrain as retrain_flow

        with server:
            summary = retrain_flow(place.root, source)
        show_summary(place, summary)


@app.command()
def ui(
    workspace: WorkspaceOption = Path(),
    mlflow_port: Annotated[int, typer.Option(min=1, max=65535)] = MLFLOW_PORT,
    prefect_port: Annotated[int, typer.Option(min=1, max=65535)] = PREFECT_PORT,
) -> None:
    """Serve the MLflow and Prefect pages of a workspace until Ctrl-C."""
    from stpa.stages.pages import serve_pages

    def announce(name: str, address: str) -> None:
        RESULTS.print(f"{name + ':':8} {escape(address)}", soft_wrap=True)

    place, params = open_part(workspace, PagesParams)
    keep_records(place.prefect)
    serve_pages(
        place, params.tracking, announce, mlflow_port=mlflow_port, prefect_port=prefect_port
    )


def _spare_garbage_collection() -> None:
    """Keep Python from searching what is imported for garbage, over and over and at its end.

    Half a million objects that all stay: it takes 5 of the 12 s of importing all and ending.
    """
    gc.set_threshold(100_000, 50, 100)
    atexit.register(gc.freeze)


def _by_k(scores: "Scores") -> list[str]:
    return [f"{scores.headline(k):.3f}" for k in sorted(scores.logits)]


def _one_line(error: Exception) -> str:
    """Return what is wrong, and where the log is: a note of `stpa.log_file`."""
    notes = getattr(error, "__notes__", [])
    where = f" ({'; '.join(notes)})" if notes else ""
    if isinstance(error, StpaError):
        return one_line(error) + where
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        place = error.filename or "the disk"
        return f"no space is left at {place}: free some and run the same command again{where}"
    return f"{type(error).__name__}: {one_line(error)}{where or ' (stpa --debug says more)'}"
