"""A picture of all trials of a search."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from stpa.files import atomic_path
from stpa.search.study import Outcome, Trial

_COLOURS = {Outcome.FINISHED: "#4a3fa0", Outcome.STOPPED: "#999999", Outcome.FAILED: "#d95f02"}


def draw_trials(path: Path, trials: Sequence[Trial], metric: str) -> None:
    """Plot each trial's figure by epoch; the first one, the best, stands out."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for trial in trials:
        if trial.outcome is not None and trial.figures:
            epochs = sorted(trial.figures)
            axes.plot(
                epochs,
                [trial.figures[epoch] for epoch in epochs],
                color=_COLOURS[trial.outcome],
                linewidth=3 if trial is trials[0] else 1,
                marker=".",
            )
            axes.annotate(f" {trial.number}", (trial.epoch, trial.figure), fontsize=8)
    for outcome, colour in _COLOURS.items():
        axes.plot([], [], color=colour, label=outcome.value)
    axes.set(xlabel="epoch", ylabel=metric, ylim=(-0.02, 1.02))
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
