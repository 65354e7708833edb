"""Heads: what makes class scores of the feature pyramids of a clip's frames, one file per head.

To add one: a file with a subclass of `Head` (`MergingHead` where states of frames merge in any
order), with its `Options` and its own losses, and an entry in `HEADS`. `model.heads` in params.yaml
names the heads to train, each with its options.
"""

from collections.abc import Mapping
from typing import Any

from stpa.models.heads.base import (
    Frames,
    Head,
    HeadInputs,
    HeadOutput,
    MergingHead,
    Pyramid,
    State,
    Tail,
    stack_states,
)
from stpa.models.heads.options import HeadOptions
from stpa.models.heads.stpa import StpaHead
from stpa.models.heads.tsn import TsnHead

__all__ = [
    "HEADS",
    "Frames",
    "Head",
    "HeadInputs",
    "HeadOptions",
    "HeadOutput",
    "MergingHead",
    "Pyramid",
    "State",
    "Tail",
    "head_options",
    "stack_states",
]

HEADS: dict[str, type[Head]] = {"stpa": StpaHead, "tsn": TsnHead}


def head_options(name: str, values: Mapping[str, Any]) -> HeadOptions:
    """Return the options of the head `name` from values that `stpa.params` has checked."""
    return HEADS[name].Options(**values)
