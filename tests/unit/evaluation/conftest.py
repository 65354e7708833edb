"""Scores of a few videos, made by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from stpa.evaluation.scores import Scores

MakeScores = Callable[..., Scores]


@pytest.fixture
def make_scores() -> MakeScores:
    """Give scores of six videos in three classes at K=1 and 3; keywords replace their values."""

    def make(**changes) -> Scores:
        random = np.random.default_rng(0)
        values = {
            "stream": "rgb",
            "head": "stpa",
            "model_key": "0123456789ab",
            "data_version": "ba9876543210",
            "class_names": ("climb", "dive", "swim"),
            "multi_label": False,
            "video_ids": tuple(f"swim/v{index}" for index in range(6)),
            "labels": np.eye(3, dtype=bool)[[0, 0, 1, 1, 2, 2]],
            "logits": {k: random.normal(size=(6, 3)).astype(np.float32) for k in (1, 3)},
        }
        return Scores(**values | changes)

    return make
