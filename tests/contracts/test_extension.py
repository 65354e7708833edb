"""What README's table "to add ... change ..." promises of most rows, done on a copy, and run.

Each addition is made as a user would make it: the files below are written or get an entry. Then the
real command line retrains a small workspace whose parameters name all of them, with Ray's workers,
MLflow and the report.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from stpa.files import read_json
from stpa.workspace import Workspace
from tests.workspaces import (
    REPOSITORY,
    SMALL_FLOW,
    STPA,
    make_workspace,
    small_params,
    write_dataset,
)


class Addition(NamedTuple):
    """A thing to add: new files, and what is put after a line of others."""

    new: dict[str, str]
    entries: dict[str, list[tuple[str, str]]]
    """By file, pairs of a line and what follows it."""


HEAD = '''
from dataclasses import dataclass
from typing import Annotated, ClassVar

from stpa.models.heads.base import Frames, HeadInputs, HeadOutput, MergingHead, State, Tail
from stpa.models.heads.options import HeadOptions
from stpa.options import AtLeast


@dataclass(frozen=True)
class PeakOptions(HeadOptions):
    sharpness: Annotated[float, AtLeast(0.1)]
    size_weight: Annotated[float, AtLeast(0.0)]

    @property
    def loss_weights(self):
        return {"size": self.size_weight}


class PeakHead(MergingHead[PeakOptions]):
    """The soft maximum of the frames' scores, and a loss on how large they are."""

    Options: ClassVar[type[HeadOptions]] = PeakOptions
    uses_pyramid: ClassVar[bool] = False

    def sum_up(self, frames: Frames, tail: Tail) -> State:
        scores = self.classifier(self.dropout(tail(frames.aggregated))).float()
        sharp = self.options.sharpness * scores.unflatten(0, (frames.num_clips, -1))
        return (sharp.logsumexp(dim=1),)

    def merge(self, states: State) -> State:
        return (states[0].logsumexp(dim=1),)

    def read(self, state: State, tail: Tail) -> HeadOutput:
        logits = state[0] / self.options.sharpness
        return HeadOutput(logits, {"size": logits.square().mean()} if self.training else {})
'''

ESTIMATOR = '''
import numpy as np


def brightening():
    """Takes the change of brightness for motion along both axes."""
    return lambda frames: np.repeat(
        np.diff(frames.mean(axis=-1, keepdims=True, dtype=np.float32), axis=0), 2, axis=-1
    )
'''

RULE = '''
from dataclasses import dataclass

from stpa.registry.rules.base import Rule, Ruling


@dataclass(frozen=True)
class ManyVideos(Rule):
    """Demands that enough videos were judged."""

    fewest: int

    def __call__(self, challenger, champion):
        num_videos = len(challenger.video_ids)
        return Ruling(num_videos >= self.fewest, f"{num_videos} of {self.fewest} videos")
'''

CHANNEL = '''
from stpa.channels.base import Channel


class Notebook(Channel):
    """A text file of sentences."""

    def check(self, setting):
        if not setting.endswith(".txt"):
            raise ValueError("must end in .txt")

    def send(self, workspace, setting, line):
        import json

        (workspace.root / setting).write_text(json.loads(line)["text"])
'''

DATASET = '''
from stpa.data.datasets.folder import FolderDataset


class ToyDataset(FolderDataset):
    """A folder by another name."""
'''

ADDITIONS = {
    "stream": Addition(
        {},
        {
            "stpa/streams.py": [
                (
                    "STREAMS = {stream.name: stream for stream in (RGB, FLOW, RGB_DIFFERENCE)}",
                    "STREAMS['step'] = Stream(\n    'step', title='one step', colour='black',"
                    " span=2, channels=3, rest_level=128.0, stack=differences\n)",
                )
            ]
        },
    ),
    "head with an option and a loss of its own": Addition(
        {"stpa/models/heads/peak.py": HEAD},
        {
            "stpa/models/heads/__init__.py": [
                (
                    'HEADS: dict[str, type[Head]] = {"stpa": StpaHead, "tsn": TsnHead}',
                    "from stpa.models.heads.peak import PeakHead\n\nHEADS['peak'] = PeakHead",
                )
            ]
        },
    ),
    "flow estimator": Addition(
        {"stpa/optical_flow/estimators/brightening.py": ESTIMATOR},
        {
            "stpa/optical_flow/estimators/__init__.py": [
                (
                    '__all__ = ["ESTIMATORS", "Estimator", "Flows", "Frames", "Method"]',
                    "from stpa.optical_flow.estimators.brightening import brightening\n"
                    "ESTIMATORS['brightening'] = Method(brightening)",
                )
            ]
        },
    ),
    "dataset": Addition(
        {"stpa/data/datasets/toy.py": DATASET},
        {
            "stpa/data/datasets/__init__.py": [
                (
                    '    "csv": CsvDataset(),',
                    "    'toy': __import__('stpa.data.datasets.toy', fromlist=['x']).ToyDataset(),",
                )
            ]
        },
    ),
    "fusion rule": Addition(
        {},
        {
            "stpa/evaluation/fusion.py": [
                (
                    "MULTI_LABEL_RULES: dict[str, FusionRule] = FUSION_RULES | {",
                    "    'loudest': lambda logits: np.max(_stacked(logits), axis=0),",
                ),
                (
                    "FUSION_RULES: dict[str, FusionRule] = {",
                    "    'loudest': lambda logits: np.max(_stacked(logits), axis=0),",
                ),
            ]
        },
    ),
    "promotion rule with a limit of its own": Addition(
        {"stpa/registry/rules/many_videos.py": RULE},
        {
            "stpa/registry/rules/__init__.py": [
                (
                    "from stpa.registry.rules.knows_all_classes import KnowsAllClasses",
                    "from stpa.registry.rules.many_videos import ManyVideos",
                ),
                ("RULES: dict[str, type[Rule]] = {", '    "many_videos": ManyVideos,'),
            ]
        },
    ),
    "metric": Addition(
        {},
        {
            "stpa/evaluation/judging.py": [
                (
                    '    "mean_class_accuracy": Metric("mean over classes", mean_class_accuracy),',
                    "    'error': Metric('error', lambda logits, right: 1 - top1(logits, right)),",
                )
            ]
        },
    ),
    "channel for notices": Addition(
        {"stpa/channels/notebook.py": CHANNEL},
        {
            "stpa/channels/__init__.py": [
                (
                    'CHANNELS: dict[str, Channel] = {"webhook": Webhook(), "command": Command(), '
                    '"file": File()}',
                    "from stpa.channels.notebook import Notebook\n\n"
                    "CHANNELS['notebook'] = Notebook()",
                )
            ]
        },
    ),
    "learning-rate schedule": Addition(
        {},
        {
            "stpa/training/optim.py": [
                (
                    "SCHEDULES: dict[str, Callable[[int, Run], float]] = "
                    '{"cosine": cosine, "step": by_steps}',
                    "SCHEDULES['even'] = lambda step, run: 1.0",
                )
            ]
        },
    ),
}

MOST_FILES = {"stream": 1, "head with an option and a loss of its own": 2}
"""Files that are written or changed; others take a file and an entry at most."""


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code with all additions."""
    root = tmp_path_factory.mktemp("extended")
    shutil.copytree(REPOSITORY / "stpa", root / "stpa", symlinks=False)
    for addition in ADDITIONS.values():
        for name, text in addition.new.items():
            (root / name).write_text(text, encoding="utf-8")
        for name, entries in addition.entries.items():
            text = (root / name).read_text(encoding="utf-8")
            for line, entry in entries:
                assert text.count(f"{line}\n") == 1, (name, line)
                text = text.replace(f"{line}\n", f"{line}\n{entry}\n")
            (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize("what", ADDITIONS)
def test_an_addition_touches_as_few_files_as_promised(what: str) -> None:
    addition = ADDITIONS[what]
    assert len(addition.new) + len(addition.entries) <= MOST_FILES.get(what, 2)


@pytest.mark.slow
def test_all_additions_are_trained_judged_fused_served_and_reported(
    extended: Path, tmp_path: Path
) -> None:
    params = small_params(
        data={"dataset": "toy"},
        optical_flow=SMALL_FLOW | {"estimator": "brightening"},
        promotion={
            "rules": {"same_data_version": {}, "many_videos": {"fewest": 2}},
            "candidate": "peak",
        },
    )
    params["evaluate"]["late_fusion"] = "loudest"
    params["train"]["schedule"] = "even"
    params["notices"]["notebook"] = "told.txt"
    streams = params["train"]["streams"]
    streams["step"] = streams["rgb"]
    for settings in streams.values():
        settings["epochs"] = 2
    params["model"]["heads"] = {"peak": {"sharpness": 2, "size_weight": 0.01}, "tsn": {}}
    workspace = make_workspace(tmp_path / "work", params)
    environment = os.environ | {"PYTHONPATH": str(extended)}

    def stpa(*arguments: str | Path) -> str:
        done = subprocess.run(
            [STPA, *arguments],
            cwd=workspace.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    source = write_dataset(tmp_path / "source", num_frames=8)
    told = stpa("retrain", source)
    assert "put up for promotion: peak" in told
    assert "streams fused by loudest" in told
    summary = read_json(Workspace(workspace.root).summary)
    assert summary["outcome"] == "promoted"
    assert "Promoted: version 1" in (workspace.root / "told.txt").read_text(encoding="utf-8")
    page = workspace.report.read_text(encoding="utf-8")
    assert all(each in page for each in ("of 2 videos", "one step", "error"))
    assert {"rgb_top1", "flow_top1", "step_top1", "fused_top1"} <= summary.keys()
    scores = {path.name.rpartition("-")[0] for path in workspace.runs.glob("evaluate/*.parquet")}
    assert scores == {f"{each}-{head}" for each in streams for head in ("peak", "tsn")}
    history = read_json(next(workspace.runs.glob("train/step-peak-*/result/progress.json")))
    last = history["history"][-1]
    assert last["loss"] == pytest.approx(last["classification"] + 0.01 * last["size"], rel=1e-4)
    assert last["learning_rate"] == history["history"][0]["learning_rate"]  # even
    answer = stpa("predict", next(source.rglob("*.avi")))
    assert "small-fusion version 1 (champion)" in answer
    assert len(pd.read_parquet(next(workspace.runs.glob("evaluate/step-peak-*.parquet")))) > 0
