from pathlib import Path

import pytest

from stpa.search.space import Choices, Range, Space
from stpa.search.study import Outcome, Study

SPACE: Space = {
    "train.streams.rgb.learning_rate": Range(low=1e-4, high=1e-1, log=True),
    "model.num_scales": Range(low=1, high=3),
    "train.streams.rgb.milestones": Choices(choices=([0.5], [0.3, 0.6], None)),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "trials.jsonl"


def run(study: Study, figures: list[float], outcome: Outcome = Outcome.FINISHED) -> int:
    trial = study.next_trial()
    for epoch, figure in enumerate(figures, start=1):
        study.add_figure(trial.number, epoch, figure)
    study.end(trial.number, outcome)
    return trial.number


def test_values_are_of_the_space(file):
    study = Study(file, SPACE, seed=0)
    for _ in range(20):
        values = study.next_trial().values
        assert 1e-4 <= values["train.streams.rgb.learning_rate"] <= 1e-1
        assert type(values["model.num_scales"]) is int
        assert 1 <= values["model.num_scales"] <= 3
        assert values["train.streams.rgb.milestones"] in ([0.5], [0.3, 0.6], None)


def test_equal_seeds_draw_equal_values(file, tmp_path):
    first, second = Study(file, SPACE, seed=1), Study(tmp_path / "other", SPACE, seed=1)
    other = Study(tmp_path / "third", SPACE, seed=2)
    drawn = [[study.next_trial().values for _ in range(3)] for study in (first, second, other)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_study_loaded_again_knows_what_has_ended_and_draws_anew(file):
    study = Study(file, SPACE, seed=0)
    outcomes = [Outcome.FINISHED, Outcome.STOPPED, Outcome.FAILED]
    for outcome in outcomes:
        run(study, [0.5], outcome)
    again = Study(file, SPACE, seed=0)
    assert again.trials == study.trials
    assert [trial.outcome for trial in again.ended] == outcomes
    new = again.next_trial()
    assert new.number == 4
    assert new.values not in [trial.values for trial in again.ended]


def test_interrupted_trials_go_on_first_with_their_values_and_figures(file):
    study = Study(file, SPACE, seed=0)
    run(study, [0.5])
    cut_off = [study.next_trial(), study.next_trial()]
    study.add_figure(2, 1, 0.25)
    with file.open("a") as record:
        record.write('\n{"number": 3, "val')  # a kill tears the last line
    again = Study(file, SPACE, seed=0)
    first, second, third = (again.next_trial() for _ in range(3))
    assert [first.number, second.number, third.number] == [2, 3, 4]
    assert [first.values, second.values] == [trial.values for trial in cut_off]
    assert first.figures == {1: 0.25}
    again.add_figure(2, 2, 0.75)
    assert again.end(2, Outcome.FINISHED).figures == {1: 0.25, 2: 0.75}


def test_the_best_is_the_highest_at_its_last_epoch_of_those_that_came_to_their_end(file):
    study = Study(file, SPACE, seed=0)
    assert study.next_trial().figure == 0
    study.end(1, Outcome.FAILED, "the loss is nan")
    run(study, [0.9, 0.4])
    run(study, [0.2, 0.5])
    run(study, [1.0], Outcome.STOPPED)
    run(study, [0.5, 0.5])
    assert [trial.number for trial in study.best_first] == [3, 5, 2, 4, 1]


def test_good_values_are_drawn_more_often_once_some_trials_are_known(file):
    study = Study(file, SPACE, seed=0)
    for _ in range(40):
        trial = study.next_trial()
        study.add_figure(trial.number, 1, trial.values["model.num_scales"] / 3)
        study.end(trial.number, Outcome.FINISHED)
    late = [study.trials[number].values["model.num_scales"] for number in range(21, 41)]
    assert late.count(3) > 12
