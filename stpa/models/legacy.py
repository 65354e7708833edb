"""Specs of networks that earlier versions wrote: their models are still served."""

from collections.abc import Mapping
from typing import Any

_DEFAULTS = {"score_norm": "none", "flow_stem": "mean", "aggregate": "maps"}
"""What networks were before there was a choice."""

_UNTRAINED = {
    "interactive_loss": "paper",
    "interactive_weight": 0.0,
    "attention_loss": "paper",
    "attention_weight": 0.0,
}
"""Losses, which specs did not have and which change nothing of a trained network."""


def current_spec(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a `NetworkSpec` of any version as those of the current one.

    The options of the head stpa stood among the network's own.
    """
    if "head_options" in values:
        return dict(values)
    spec = {**_DEFAULTS, **values}
    options = {
        "scale_fusion": spec.pop("fusion"),
        **{name: spec.pop(name) for name in ("map_norm", "score_norm", "aggregate")},
        **_UNTRAINED,
    }
    return {**spec, "head_options": options if spec["head"] == "stpa" else {}}
