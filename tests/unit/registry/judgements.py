"""Judgements to compare, made from which videos were named rightly."""

from collections.abc import Sequence

from stpa.registry.candidate import Judgement


def judgement(
    right: Sequence[bool], *, classes: str = "abcd", data_version: str = "data1", offset: int = 0
) -> Judgement:
    """Judge one video of class `a` for each entry; `offset` numbers the first."""
    return Judgement(
        data_version=data_version,
        class_names=tuple(classes),
        video_ids=tuple(f"video{offset + index}" for index in range(len(right))),
        labels=("a",) * len(right),
        predictions=tuple("a" if is_right else "b" for is_right in right),
    )
