"""What is kept of a training that has ended, and what of it stands in the way of promotion."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stpa.data.manifest import Manifest
from stpa.data.versioning import DataVersion
from stpa.errors import ModelError
from stpa.evaluation.scores import Scores
from stpa.params import load_config
from stpa.stages import candidate
from stpa.stages import plan as stage
from stpa.stages.candidate import gather_candidate
from stpa.stages.plan import Plan, make_plan
from stpa.stages.train import find_trained
from stpa.streams import FLOW, RGB, Stream
from stpa.training.learning import Problem
from tests.workspaces import make_video, make_workspace, small_params

HEAD = "stpa"
DATA = DataVersion(manifest="m", videos="v", optical_flow="f")
FATAL = {"name": "one_answer", "message": "one class for all", "has_learnt": False}
NOTABLE = {"name": "too_few_steps", "message": "only 6 steps", "has_learnt": True}


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr(stage, "read_version", lambda root: DATA)
    workspace = make_workspace(tmp_path, small_params())
    return make_plan(workspace, load_config(workspace.params))


@pytest.fixture
def keep(plan: Plan) -> Callable[[Stream, str], Path]:
    """Return a function that writes the record of a stream's training."""

    def write(stream: Stream, text: str) -> Path:
        record = plan.network(stream, HEAD).record
        record.parent.mkdir(parents=True)
        record.write_text(text)
        return record

    return write


@pytest.mark.parametrize(
    ("kept", "problems"),
    [
        ({"problems": [FATAL, NOTABLE]}, (Problem(**FATAL), Problem(**NOTABLE))),
        ({"problems": []}, ()),
        ({}, ()),  # by a version that looked for none
    ],
)
def test_every_problem_of_a_training_is_kept(
    plan: Plan,
    keep: Callable[[Stream, str], Path],
    kept: dict[str, Any],
    problems: tuple[Problem, ...],
) -> None:
    keep(RGB, json.dumps({"run_id": "abc", **kept}))
    trained = find_trained(plan.network(RGB, HEAD))
    assert (trained.run_id, trained.problems) == ("abc", problems)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"run_id": "abc", "problems": ["one class"]}'])
def test_a_broken_record_is_named_with_what_to_do(
    plan: Plan, keep: Callable[[Stream, str], Path], text: str
) -> None:
    done = keep(RGB, text)
    with pytest.raises(ModelError) as raised:
        find_trained(plan.network(RGB, HEAD))
    assert str(raised.value).startswith(f"{done} is not the record of a training: remove it")


def test_only_a_network_that_has_learnt_nothing_counts_as_failed(
    plan: Plan,
    keep: Callable[[Stream, str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for stream, problems in ((RGB, [NOTABLE]), (FLOW, [NOTABLE, FATAL])):
        keep(stream, json.dumps({"run_id": "abc", "problems": problems}))
    labels = np.eye(2, dtype=bool)
    logits = {plan.config.evaluate.num_segments: labels.astype(np.float32)}
    fused = Scores("fused", "stpa", "key", "data", ("a", "b"), False, ("x", "y"), labels, logits)
    monkeypatch.setattr(candidate, "fuse_by", lambda *arguments: fused)
    manifest = Manifest((make_video("x", group="g1"), make_video("y", group="g2")))
    monkeypatch.setattr(candidate, "read_manifest", lambda path: manifest)
    judgement = gather_candidate(plan).judgement
    assert judgement.failed == {"flow stpa": "one class for all"}
    assert judgement.learnt == ("rgb stpa",)
    assert judgement.groups == ("g1", "g2")
