"""`stpa localise`: whether networks' attention and evidence point at the action."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from stpa.cli.workspace import (
    HeadOption,
    StreamOption,
    WorkspaceOption,
    at_work,
    chosen_heads,
    chosen_streams,
    open_workspace,
)
from stpa.errors import ConfigError
from stpa.results import RESULTS
from stpa.terminal import TERMINAL

if TYPE_CHECKING:
    from stpa.evaluation.localisation.average import Average
    from stpa.stages.localise import LocalisedNetwork


def localise(
    stream: StreamOption = None,
    head: HeadOption = None,
    model: Annotated[
        Path | None, typer.Option(help="A model folder to measure, in place of trained networks.")
    ] = None,
    k: Annotated[
        int | None, typer.Option(min=1, help="Frames per video; default: evaluate.num_segments.")
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            help="A CSV file: path, frame, x0, y0, x1, y1, or path, first_frame, last_frame. "
            "Default: what generated clips and Charades bring."
        ),
    ] = None,
    perturb: Annotated[
        bool, typer.Option("--perturb", help="Measure deletion and insertion, too: much slower.")
    ] = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Measure whether attention and evidence point at the action, in space and time.

    On the annotated test videos, next to maps that know nothing of the network.
    """
    from stpa.data.versioning import read_version
    from stpa.stages.localise import (
        find_annotated,
        find_networks,
        localise_on_cluster,
        name_network,
        write_localisation,
    )
    from stpa.stages.plan import make_plan

    if model is not None and (stream or head):
        raise ConfigError("--model is one network: leave out --stream and --head")
    place, config = open_workspace(workspace)
    heads, streams = chosen_heads(config, head), chosen_streams(config, stream)
    num_segments = k or config.evaluate.num_segments
    with at_work(place, "localise"):
        data_version = read_version(place.root).id  # none: told before hours of work
        networks = (
            name_network(model)
            if model
            else find_networks(make_plan(place, config), streams, heads)
        )
        annotated = find_annotated(place, truth)
        found: dict[str, LocalisedNetwork] = {}
        for name, folder in networks.items():
            with TERMINAL.bar(f"localise {name}") as progress:
                found[name] = localise_on_cluster(
                    place,
                    config,
                    folder,
                    annotated,
                    num_segments=num_segments,
                    perturbs=perturb,
                    progress=progress,
                )
            show_localisation(name, found[name])
        path = write_localisation(
            place, found, data_version=data_version, table=truth, num_segments=num_segments
        )
        RESULTS.print(f"metrics, for programs: {escape(str(path))}", soft_wrap=True)


def show_localisation(name: str, network: "LocalisedNetwork") -> None:
    """Show the averages of each kind of map, with their intervals over recordings."""
    from stpa.evaluation.localisation.metrics import KINDS

    for kind, titles in KINDS.items():
        rows = {
            maps: {metric: metrics[metric] for metric in titles}
            for maps, metrics in network.averages.items()
            if titles.keys() <= metrics.keys()
        }
        if not rows:
            continue
        title = (
            f"{name}, {kind}: {network.num_actions} actions of {network.num_recordings} recordings"
        )
        table = Table("maps", *titles.values(), title=title)
        for maps, metrics in rows.items():
            table.add_row(maps, *map(_cell, metrics.values()))
        # The same for all maps: what is undefined follows from the annotations.
        num_left_out = [each.num_undefined for each in next(iter(rows.values())).values()]
        if any(num_left_out):
            table.add_section()
            table.add_row("actions left out", *map(str, num_left_out))
        RESULTS.print(table)


def _cell(average: "Average") -> str:
    if average.mean != average.mean:  # NaN
        return "-"
    interval = average.interval
    return f"{average.mean:.3f}" + (
        "" if interval is None else f"\n{interval.low:.2f}-{interval.high:.2f}"
    )
