"""Which head is put up for promotion, by scores of held-out training videos."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stpa.config import Config
from stpa.data.versioning import DataVersion
from stpa.evaluation.fusion import Fusion
from stpa.evaluation.scores import Scores
from stpa.params import check_params
from stpa.stages import choose, fuse
from stpa.stages.choose import choose_head
from stpa.stages.held_out import HeldOut
from stpa.stages.plan import Plan
from stpa.workspace import Workspace
from tests.workspaces import small_params

NUM_VIDEOS, NUM_CLASSES = 60, 3


def config(candidate: str = "auto", *, is_alone: bool = False, **evaluate: Any) -> Config:
    params = small_params(
        model={"freeze": "backbone", "pretrained": True},
        evaluate={"late_fusion": "fitted", **evaluate},
        promotion={"candidate": candidate},
    )
    if is_alone:
        del params["model"]["heads"]["tsn"]
    return check_params(params, Path("params.yaml"))


@pytest.fixture
def held_out(monkeypatch: pytest.MonkeyPatch):
    """Make both streams of each head know the classes so well, and videos of so many recordings."""

    def make(stpa: float, tsn: float, num_recordings: int = 30) -> None:
        rng = np.random.default_rng(0)
        indices = rng.integers(NUM_CLASSES, size=NUM_VIDEOS)
        noise = rng.normal(size=(NUM_VIDEOS, NUM_CLASSES))
        labels = np.eye(NUM_CLASSES, dtype=bool)[indices]
        group_of = [f"g{index % num_recordings}" for index in range(NUM_VIDEOS)]

        def scores(stream: str, head: str) -> Scores:
            return Scores(
                stream=stream,
                head=head,
                model_key="k",
                data_version="d",
                class_names=("a", "b", "c"),
                multi_label=False,
                video_ids=tuple(f"v{index}" for index in range(NUM_VIDEOS)),
                labels=labels,
                logits={3: noise + {"stpa": stpa, "tsn": tsn}[head] * labels},
            )

        def find(plan: Plan, head: str) -> HeldOut:
            return HeldOut((scores("rgb", head), scores("flow", head)), tuple(group_of))

        for module in (choose, fuse):
            monkeypatch.setattr(module, "find_held_out", find)

    return make


def plan(*arguments: Any, **options: Any) -> Plan:
    return Plan(Workspace(Path()), config(*arguments, **options), DataVersion("v", "m", "f"), ())


@pytest.mark.parametrize(("stpa", "tsn", "chosen"), [(4, 1, "stpa"), (1, 4, "tsn"), (2, 2, "tsn")])
def test_the_better_head_is_chosen_and_the_average_where_they_tie(held_out, stpa, tsn, chosen):
    held_out(stpa, tsn)
    choice = choose_head(plan())
    assert choice.head == chosen
    ahead, behind = ("tsn", "stpa") if tsn > stpa else ("stpa", "tsn")
    assert f"{ahead} is ahead of {behind} by" in choice.reason
    assert ("no more than the standard error" in choice.reason) == (stpa == tsn)


def test_a_lead_by_few_recordings_is_no_lead(held_out):
    held_out(1.3, 1.0, num_recordings=60)
    assert choose_head(plan()).head == "stpa"
    gain = np.array([0.3, -0.2] * 30)
    one_by_one = choose._mean_over_groups(gain, [f"g{n}" for n in range(60)])
    in_pairs = choose._mean_over_groups(gain, [f"g{n % 2}" for n in range(60)])
    assert one_by_one[0] == in_pairs[0] == pytest.approx(0.05)
    # Of independent videos, the standard error of the mean; of two recordings, far more.
    assert one_by_one[1] == pytest.approx(gain.std(ddof=1) / np.sqrt(60))
    assert in_pairs[1] == pytest.approx(np.std([0.3, -0.2], ddof=1) / np.sqrt(2))
    assert choose._mean_over_groups(gain, ["g"] * 60)[1] == np.inf


def test_a_named_head_is_taken_unseen(held_out):
    held_out(9, 0)
    choice = choose_head(plan("tsn"))
    assert (choice.head, choice.reason) == ("tsn", "promotion.candidate names it")


def test_without_another_head_there_is_no_choice(held_out):
    held_out(0, 9)
    choice = choose_head(plan(is_alone=True))
    assert (choice.head, choice.reason) == ("stpa", "no other is trained")


def test_with_a_fixed_rule_a_named_head_needs_nothing_held_out():
    choice = choose_head(plan("stpa", late_fusion="average_logits"))
    assert (choice.head, choice.fusion) == ("stpa", Fusion("average_logits"))


def test_where_no_recording_can_be_spared_the_first_head_is_taken(monkeypatch):
    for module in (choose, fuse):
        monkeypatch.setattr(module, "find_held_out", lambda plan, head: None)
    choice = choose_head(plan())
    assert choice.head == "stpa"
    assert choice.reason == "no training videos are held out to compare heads by"
