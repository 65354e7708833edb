"""What Prefect keeps of a retraining, for a person to find it by."""

import json
import sqlite3
from contextlib import closing

from stpa.files import read_json
from stpa.params import load_config
from stpa.registry.tracking import open_tracker
from stpa.workspace import Workspace
from tests.workspaces import all_runs, kind_of


def select(workspace: Workspace, query: str) -> list[tuple[str, ...]]:
    """Ask the database that Prefect keeps in a workspace."""
    database = (workspace.prefect / "prefect.db").resolve()
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def test_names_tell_what_was_done_to_which_workspace(retrained: Workspace) -> None:
    flows = {name for (name,) in select(retrained, "SELECT name FROM flow_run")}
    steps = ("retrain", "ingest", "extract", "train", "evaluate", "promote")
    assert flows == {f"{step} {retrained.root.name}" for step in steps}
    tasks = {name for (name,) in select(retrained, "SELECT name FROM task_run")}
    assert tasks > {"ingest-videos", "train-rgb-stpa", "register-and-judge", "summarise"}


def test_the_report_links_to_that_of_mlflow(retrained: Workspace) -> None:
    tracker = open_tracker(retrained, load_config(retrained.params).tracking)
    [(text,), *_] = select(retrained, "SELECT data FROM artifact WHERE key = 'report'")
    report, summary = json.loads(text), read_json(retrained.summary)
    [fusion] = [run for run in all_runs(tracker) if kind_of(run) == "fusion-stpa"]
    page = tracker.run_page(fusion.info.run_id, "index.html")
    assert f"[Report](http://127.0.0.1:5000/{page})" in report
    assert "is served" in report
    assert tracker.read_text(fusion.info.run_id, "index.html") == retrained.report.read_text()
    assert f"File: `{retrained.report.resolve()}`" in report
    assert f"| stpa | {summary['rgb_top1']:.3f} | {summary['flow_top1']:.3f} |" in report
