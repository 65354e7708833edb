"""What a search has found: a params file with the best values, and a picture of all trials."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stpa.errors import ModelError
from stpa.files import write_text
from stpa.params import EXTENDS
from stpa.search.picture import draw_trials
from stpa.search.study import Outcome, Study, Trial
from stpa.stages.search_plan import set_values
from stpa.stages.search_trials import SearchRun
from stpa.workspace import Workspace


@dataclass(frozen=True)
class SearchResult:
    """What a search has found."""

    metric: str
    """The name of the trials' figures."""
    trials: tuple[Trial, ...]
    """All, the best first."""
    params: Path
    """A params file that extends the workspace's by the best trial's values."""
    picture: Path
    """Every trial's figure by epoch."""
    reused: bool
    """Whether all trials were there already."""


def write_result(
    workspace: Workspace, run: SearchRun, study: Study, metric: str, *, reused: bool
) -> SearchResult:
    """Write the best trial's values, and draw all trials.

    Raises ModelError where none has run to its end.
    """
    trials = tuple(study.best_first)
    best = trials[0]
    if best.outcome is not Outcome.FINISHED:
        faults = [trial.reason for trial in trials if trial.outcome is Outcome.FAILED]
        raise ModelError(
            f"none of {len(trials)} trials of {run.stream} {run.head} ran to its end; "
            f"{len(faults)} failed, the first: {faults[0] if faults else 'none'}: "
            f"mend that or the space, and remove {run.folder} to search again"
        )
    path = workspace.found_params(run.stream.name, run.head)
    found: dict[str, Any] = {EXTENDS: workspace.params.name}
    set_values(found, best.values)
    write_text(
        path,
        f"# Trial {best.number} of {len(trials)}, {metric} {best.figure:.4f}.\n"
        + yaml.safe_dump(found, sort_keys=False, allow_unicode=True),
    )
    draw_trials(run.picture, trials, metric)
    return SearchResult(metric, trials, path, run.picture, reused)
