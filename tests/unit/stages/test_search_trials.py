"""What becomes of trials, without a cluster: in the record, in MLflow, and in the files."""

from pathlib import Path

import pytest
import yaml

from stpa.config import Config
from stpa.errors import ModelError
from stpa.params import check_params, load_config
from stpa.registry.tracking import Tracker, default_uri
from stpa.search.space import Choices, Space
from stpa.search.study import Outcome, Study
from stpa.stages.initialise import initialise
from stpa.stages.search_result import write_result
from stpa.stages.search_trials import SearchRun, TrackedTrials
from stpa.streams import RGB
from stpa.workspace import Workspace
from tests.workspaces import make_workspace, small_params

EPOCHS = 2
SPACE: Space = {
    "train.streams.rgb.epochs": Choices(choices=(EPOCHS, EPOCHS)),
    "model.top_layer": Choices(choices=("C", "FC")),
}
"""FC needs a single scale, and so makes half of the trials unsound."""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path / "wörk", small_params(model={"num_scales": 2}))


@pytest.fixture
def config(workspace: Workspace) -> Config:
    return load_config(workspace.params)


@pytest.fixture
def run(workspace: Workspace) -> SearchRun:
    key = str(workspace.root)
    return SearchRun(RGB, "stpa", key, workspace.runs / "search" / "k")


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    """One for all tests: it takes seconds to make."""
    return Tracker(default_uri(Workspace(tmp_path_factory.mktemp("tracked"))), "e")


def measured(epoch: int, figure: float) -> dict[str, float]:
    """Return the metrics of an epoch."""
    speed = {"videos_per_second": 14.23}
    return {"epoch": float(epoch), "loss": 0.912, "top1": 0.75, "validation/top1": figure, **speed}


class Desk:
    """The trials of one process, and what they report to."""

    def __init__(self, config: Config, run: SearchRun, tracker: Tracker) -> None:
        self.key = run.key
        self.study = Study(run.record, SPACE, seed=0)
        self.reported: list[tuple[int, int]] = []
        self.run_id = tracker.open_run(run.key, "search", {}, {})
        self.trials = TrackedTrials(
            self.study,
            config,
            run,
            num_trials=8,
            metric="validation/top1",
            tracker=tracker,
            parent=self.run_id,
            lineage={"stream": "rgb", "data.version": "91f4d6fce48e"},
            progress=lambda done, total, *_details: self.reported.append((done, total)),
        )

    def learn(self, number: int, figures: list[float]) -> None:
        for epoch, figure in enumerate(figures, start=1):
            self.trials.on_epoch(number, measured(epoch, figure))


def statuses(tracker: Tracker, desk: Desk) -> dict[str, tuple[str, str]]:
    experiment = tracker.client.get_experiment_by_name("e")
    assert experiment is not None
    runs = tracker.client.search_runs([experiment.experiment_id])
    return {
        str(run.info.run_name): (run.info.status, run.data.tags.get("outcome", ""))
        for run in runs
        if run.data.tags.get("mlflow.parentRunId") == desk.run_id
    }


def trial_name(desk: Desk, number: int) -> str:
    return f"trial-{number}-rgb-stpa-{desk.key[:6]} mobilenetv3_small_050 data-91f4d6"


def test_every_trial_is_told_as_what_it_came_to(config, run, tracker):
    desk = Desk(config, run, tracker)
    ends = [([0.1, 0.2], None), ([0.3], None), ([0.4], "the loss is nan")]
    started = []
    for figures, fault in ends:
        attempt = desk.trials.start()
        assert attempt is not None
        assert attempt.model.top_layer == "C"
        assert attempt.train.streams["rgb"].epochs == EPOCHS
        (run.checkpoints / f"trial-{attempt.number}").mkdir(parents=True)
        desk.learn(attempt.number, figures)
        desk.trials.on_end(attempt.number, fault)
        started.append(attempt.number)
    outcomes = [desk.study.trials[number].outcome for number in started]
    assert outcomes == [Outcome.FINISHED, Outcome.STOPPED, Outcome.FAILED]
    assert list(run.checkpoints.iterdir()) == []
    told = statuses(tracker, desk)
    names = [trial_name(desk, number) for number in started]
    assert [told[name] for name in names] == [
        ("FINISHED", "finished"),
        ("FINISHED", "stopped early"),
        ("FAILED", "failed"),
    ]
    unsound = [trial for trial in desk.study.ended if trial.number not in started]
    assert unsound
    for trial in unsound:
        assert trial.reason == "model.top_layer FC needs model.num_scales 1, not 2"
        assert told[trial_name(desk, trial.number)] == ("FAILED", "failed")
    assert desk.reported == [(n, 8) for n in range(1, len(desk.study.ended) + 1)]


def test_each_epoch_of_a_trial_is_logged_with_its_accuracy_on_held_out_clips(
    config, run, tracker, caplog
):
    caplog.set_level("INFO")
    desk = Desk(config, run, tracker)
    attempt = desk.trials.start()
    assert attempt is not None
    desk.learn(attempt.number, [0.25, 0.5])
    [*_, line] = [record.getMessage() for record in caplog.records]
    name = f"rgb stpa trial {attempt.number}"
    assert line == f"{name}: epoch 2 of 2: loss 0.912, held-out accuracy 0.50, 14.2 clips/s"


def test_there_are_no_more_trials_than_asked_for(config, run, tracker):
    desk = Desk(config, run, tracker)
    while attempt := desk.trials.start():
        desk.trials.on_end(attempt.number, None)
    assert len(desk.study.ended) == 8
    assert Desk(config, run, tracker).trials.start() is None


def test_what_was_given_up_goes_on_in_the_same_run_from_the_epoch_that_it_came_to(
    config, run, tracker
):
    desk = Desk(config, run, tracker)
    first = desk.trials.start()
    assert first is not None
    desk.learn(first.number, [0.5])
    desk.trials.give_up()
    name = trial_name(desk, first.number)
    assert statuses(tracker, desk)[name] == ("FAILED", "")
    again = Desk(config, run, tracker)
    attempt = again.trials.start()
    assert attempt is not None
    assert (attempt.number, attempt.epochs_done) == (first.number, 1)
    again.trials.on_epoch(first.number, measured(2, 0.75))
    again.trials.on_end(first.number, None)
    assert statuses(tracker, again)[name] == ("FINISHED", "finished")
    assert again.study.trials[first.number].figures == {1: 0.5, 2: 0.75}


def test_the_best_values_are_a_params_file_that_init_takes(workspace, config, run, tracker):
    desk = Desk(config, run, tracker)
    attempt = desk.trials.start()
    assert attempt is not None
    desk.learn(attempt.number, [0.5, 0.75])
    desk.trials.on_end(attempt.number, None)
    result = write_result(workspace, run, desk.study, "validation/top1", reused=False)
    assert result.params == workspace.root / "search-rgb-stpa.yaml"
    assert yaml.safe_load(result.params.read_text()) == {
        "extends": "params.yaml",
        "train": {"streams": {"rgb": {"epochs": EPOCHS}}},
        "model": {"top_layer": "C"},
    }
    assert result.picture.read_bytes().startswith(b"\x89PNG")
    initialise(workspace, result.params)
    found = config.model_dump(mode="json")
    found["train"]["streams"]["rgb"]["epochs"] = EPOCHS
    assert load_config(workspace.params) == check_params(found, workspace.params)


def test_a_search_whose_trials_all_failed_says_why_in_one_line(workspace, config, run, tracker):
    desk = Desk(config, run, tracker)
    while attempt := desk.trials.start():
        desk.trials.on_end(attempt.number, "the loss is nan")
    with pytest.raises(
        ModelError, match=r"^none of 8 trials of rgb stpa ran to its end; 8 failed, the first: "
    ) as error:
        write_result(workspace, run, desk.study, "validation/top1", reused=False)
    assert "\n" not in str(error.value)
    assert not workspace.found_params("rgb", "stpa").exists()
