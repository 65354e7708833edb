"""Judgements to compare, made from which videos were named rightly."""

from collections.abc import Sequence

import numpy as np

from stpa.registry.judgement import MultiLabelJudgement, SingleLabelJudgement


def judgement(
    right: Sequence[bool],
    *,
    classes: str = "abcd",
    data_version: str = "data1",
    offset: int = 0,
    groups: tuple[str, ...] = (),
    failed: dict[str, str] | None = None,
    learnt: tuple[str, ...] = (),
) -> SingleLabelJudgement:
    """Judge a video for each entry, of all classes in turn; `offset` numbers the first."""
    labels = tuple(classes[index % len(classes)] for index in range(len(right)))
    wrong = dict(zip(classes, classes[1:] + classes[0], strict=True))
    return SingleLabelJudgement(
        data_version=data_version,
        class_names=tuple(classes),
        video_ids=tuple(f"video{offset + index}" for index in range(len(right))),
        labels=labels,
        predictions=tuple(
            label if is_right else wrong[label]
            for label, is_right in zip(labels, right, strict=True)
        ),
        groups=groups,
        failed=failed or {},
        learnt=learnt,
    )


def multi_label_judgement(
    noise: float, *, classes: str = "abcd", data_version: str = "data1", offset: int = 0
) -> MultiLabelJudgement:
    """Judge 40 videos, each of class `a` to `d` in turn and some of two; scores have `noise`."""
    random = np.random.default_rng(offset)
    labels = [("abcd"[index % 4], "a")[: 1 + index % 2] for index in range(40)]
    scores = [
        tuple(float(name in shown) + noise * random.normal() for name in classes)
        for shown in labels
    ]
    return MultiLabelJudgement(
        data_version=data_version,
        class_names=tuple(classes),
        video_ids=tuple(f"video{offset + index}" for index in range(40)),
        labels=tuple(tuple(dict.fromkeys(shown)) for shown in labels),
        scores=tuple(scores),
    )
