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
    failed: dict[str, str] | None = None,
    learnt: tuple[str, ...] = (),
) -> SingleLabelJudgement:
    """Judge one video of class `a` for each entry; `offset` numbers the first."""
    return SingleLabelJudgement(
        data_version=data_version,
        class_names=tuple(classes),
        video_ids=tuple(f"video{offset + index}" for index in range(len(right))),
        labels=("a",) * len(right),
        predictions=tuple("a" if is_right else "b" for is_right in right),
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
