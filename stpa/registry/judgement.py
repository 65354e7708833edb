"""How a classifier did on the test videos of one data version: what promotion compares.

Classes and labels are names, so that classifiers with different classes compare.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from stpa.average_precision import mean_average_precision
from stpa.evaluation.judging import MULTI_LABEL, SINGLE_LABEL, TITLES
from stpa.evaluation.significance import (
    Chance,
    Gain,
    accuracy_against_chance,
    compare_map,
    compare_paired,
    map_against_chance,
)
from stpa.shapes import Bool, Float

_SEED = 0
"""Of what is drawn at random; equal judgements give equal verdicts."""

Score = Annotated[float, Field(allow_inf_nan=False)]


class Judgement(BaseModel, ABC):
    """What all classifiers of one data version were asked, and what one of them answered."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    headline: ClassVar[str]
    """The name in `TITLES` of `figure`."""

    data_version: str
    class_names: tuple[str, ...] = Field(min_length=1)
    """What the classifier can answer."""
    video_ids: tuple[str, ...] = Field(min_length=1)
    groups: tuple[str, ...] = ()
    """Each video's recording; without any, as on older records, each video is its own."""
    failed: dict[str, str] = {}
    """Those of its networks whose training taught them nothing, and why."""
    learnt: tuple[str, ...] = ()
    """Its other networks."""

    @model_validator(mode="after")
    def _one_recording_a_video(self) -> "Judgement":
        if self.groups and len(self.groups) != len(self.video_ids):
            raise ValueError("groups must be one recording for each video, or none")
        return self

    @property
    def title(self) -> str:
        """What the figure is called in a sentence."""
        return TITLES[self.headline]

    @property
    @abstractmethod
    def figure(self) -> float:
        """How good the classifier is, in [0, 1]; more is better."""

    @property
    def only_answer(self) -> str | None:
        """The class that all videos are given, where there is one and they do not all show it."""
        return None

    @abstractmethod
    def against_chance(self) -> Chance:
        """Test the figure against guessing."""

    @abstractmethod
    def gain_over(self, other: "Judgement") -> Gain | None:
        """Compare the figures of two on the videos that both judged; None where there are none.

        Both must be of the same kind, as those of one data version are.
        """


class SingleLabelJudgement(Judgement):
    """One label and one answer a video."""

    headline = SINGLE_LABEL.headline

    class_names: tuple[str, ...] = Field(min_length=2)
    labels: tuple[str, ...]
    predictions: tuple[str, ...]

    @model_validator(mode="after")
    def _one_answer_a_video(self) -> "SingleLabelJudgement":
        counts = len(self.video_ids), len(self.labels), len(self.predictions)
        if len(set(counts)) > 1 or len(set(self.video_ids)) < len(self.video_ids):
            raise ValueError(f"video_ids must be unique, one label and prediction each: {counts}")
        return self

    @property
    def figure(self) -> float:
        """Top-1: the share of the videos named rightly."""
        return float(self._correct(self.video_ids).mean())

    @property
    def only_answer(self) -> str | None:
        answers = set(self.predictions)
        return self.predictions[0] if len(answers) == 1 and set(self.labels) != answers else None

    def against_chance(self) -> Chance:
        """Test the right answers by dealing them out to the recordings at random."""
        groups = self.groups or self.video_ids
        return accuracy_against_chance(self.predictions, self.labels, groups, _SEED)

    def gain_over(self, other: Judgement) -> Gain | None:
        """Compare top-1."""
        assert isinstance(other, SingleLabelJudgement), "one data version, one kind"
        shared = _shared(self, other)
        if not shared:
            return None
        return compare_paired(self._correct(shared), other._correct(shared), _SEED)

    def _correct(self, video_ids: Sequence[str]) -> Bool[np.ndarray, " videos"]:
        answers = zip(self.video_ids, self.labels, self.predictions, strict=True)
        right = {video_id: label == prediction for video_id, label, prediction in answers}
        return np.array([right[video_id] for video_id in video_ids])


class MultiLabelJudgement(Judgement):
    """Any number of labels a video, and a score for each class."""

    headline = MULTI_LABEL.headline

    labels: tuple[tuple[str, ...], ...]
    scores: tuple[tuple[Score, ...], ...]
    """By video and by place in `class_names`; they order the videos within a class."""

    @model_validator(mode="after")
    def _one_row_a_video(self) -> "MultiLabelJudgement":
        counts = len(self.video_ids), len(self.labels), len(self.scores)
        if len(set(counts)) > 1 or len(set(self.video_ids)) < len(self.video_ids):
            raise ValueError(
                f"video_ids must be unique, one row of labels and scores each: {counts}"
            )
        if any(len(row) != len(self.class_names) for row in self.scores):
            raise ValueError(f"a video needs a score for each of {len(self.class_names)} classes")
        if not any(self.labels):
            raise ValueError("no video has a label")
        return self

    @property
    def figure(self) -> float:
        """The mean average precision over the classes that the videos show."""
        return mean_average_precision(*self._over(self.video_ids, self._shown(self.video_ids)))

    def against_chance(self) -> Chance:
        """Test the mean average precision by dealing the scores out to the videos at random."""
        return map_against_chance(*self._over(self.video_ids, self._shown(self.video_ids)), _SEED)

    def gain_over(self, other: Judgement) -> Gain | None:
        """Compare mean average precisions."""
        assert isinstance(other, MultiLabelJudgement), "one data version, one kind"
        shared = _shared(self, other)
        classes = self._shown(shared)
        if not classes:
            return None
        scores, labels = self._over(shared, classes)
        other_scores, _ = other._over(shared, classes)
        return compare_map(scores, other_scores, labels, _SEED)

    def _shown(self, video_ids: Sequence[str]) -> list[str]:
        """Return the classes that any of some videos shows."""
        shown_by = dict(zip(self.video_ids, self.labels, strict=True))
        return sorted({label for video_id in video_ids for label in shown_by[video_id]})

    def _over(
        self, video_ids: Sequence[str], classes: Sequence[str]
    ) -> tuple[Float[np.ndarray, "videos classes"], Bool[np.ndarray, "videos classes"]]:
        """Return the scores and labels of some videos, over some classes.

        A class that the classifier does not know has one score for all videos: it orders none.
        """
        rows = {video_id: row for row, video_id in enumerate(self.video_ids)}
        chosen = [rows[video_id] for video_id in video_ids]
        places = {name: place for place, name in enumerate(self.class_names)}
        given = np.array(self.scores)[chosen]
        scores = np.zeros((len(chosen), len(classes)))
        for column, name in enumerate(classes):
            if name in places:
                scores[:, column] = given[:, places[name]]
        labels = np.array([[name in self.labels[row] for name in classes] for row in chosen])
        return scores, labels


def judge_scores(
    scores: Float[np.ndarray, "videos classes"],
    labels: Sequence[tuple[str, ...]],
    *,
    multi_label: bool,
    data_version: str,
    class_names: tuple[str, ...],
    video_ids: tuple[str, ...],
    groups: tuple[str, ...],
    failed: Mapping[str, str] | None = None,
    learnt: tuple[str, ...] = (),
) -> Judgement:
    """Judge a classifier by its scores; `labels` are each video's, without repetitions.

    `groups` are the videos' recordings. `failed` are those of its networks whose training failed,
    and why; `learnt` are the others.
    """
    asked = {
        "data_version": data_version,
        "class_names": class_names,
        "video_ids": video_ids,
        "groups": groups,
        "failed": dict(failed or {}),
        "learnt": learnt,
    }
    if multi_label:
        rows = tuple(tuple(row) for row in scores.tolist())
        return MultiLabelJudgement(**asked, labels=tuple(labels), scores=rows)
    return SingleLabelJudgement(
        **asked,
        labels=tuple(label for [label] in labels),
        predictions=tuple(class_names[best] for best in scores.argmax(axis=1)),
    )


def read_judgement(text: str) -> Judgement:
    """Read a judgement's JSON. Raises ValidationError."""
    return _KINDS.validate_json(text)


def _shared(first: Judgement, second: Judgement) -> list[str]:
    return sorted(set(first.video_ids) & set(second.video_ids))


_KINDS: TypeAdapter[SingleLabelJudgement | MultiLabelJudgement] = TypeAdapter(
    SingleLabelJudgement | MultiLabelJudgement
)
