"""Read a space file, and try its values on the parameters before anything starts."""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stpa.config import Config
from stpa.errors import ConfigError
from stpa.params import find_faults, find_misshapes, read_mapping
from stpa.search.space import Choices, Range, SearchPlan
from stpa.streams import STREAMS, Stream

SEARCHED_SECTIONS = ("model", "train")
"""What a training on given data depends on, but for the number of workers."""


DECIDE_FEATURES = {
    "model.backbone",
    "model.pretrained",
    "model.backbone_options",
    "model.input_mean",
    "model.input_std",
    "model.flow_input",
    "model.flow_stem",
    "model.top_layer",
    "model.num_scales",
    "model.downsampling",
    "train.input_size",
    "train.short_side",
    "train.stored_views",
}
"""What stored features are made from (`stpa.stages.feature_files`)."""
DECIDE_VIEWS = {
    "train.horizontal_flip",
    "train.seed",
    *(f"train.streams.{stream}.scale_jitter" for stream in STREAMS),
}
"""What else, where features of random views are stored."""


def read_plan(path: Path, config: Config) -> SearchPlan:
    """Read and check a space file. Raises ConfigError naming every fault in it.

    Each bound and each choice must be sound by itself with the other parameters as they are.
    """
    values = read_mapping(path, "space file", "trials:, folds:, ... and space:")
    faults = find_misshapes(values, SearchPlan)
    if not faults:
        plan = SearchPlan.model_validate(values)
        faults = list(_faults_of_values(plan, config))
        if not faults:
            return plan
    raise ConfigError(f"{path} has {len(faults)} error(s): " + "; ".join(faults))


def searched_streams(plan: SearchPlan, config: Config, stream: str | None) -> list[Stream]:
    """Return the streams whose networks the plan varies, or the one named `stream` alone.

    Raises ConfigError where the plan varies nothing of it.
    """
    varied = [each for each in config.streams if plan.of_stream(each)]
    chosen = [each for each in varied if stream in (None, each.name)]
    if not chosen:
        known = ", ".join(map(str, varied)) or "none"
        raise ConfigError(
            f"no key of the space changes the {stream or 'trained'} networks: it changes {known}"
        )
    return chosen


def with_values(config: Config, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain parameters with `values` at their dotted keys."""
    params = config.model_dump(mode="json")
    set_values(params, values)
    return params


def set_values(params: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Set `values` at their dotted keys, in sections that are made where they are missing.

    Raises KeyError where a key leads through something that is no section.
    """
    for key, value in values.items():
        *sections, name = key.split(".")
        section = params
        for each in sections:
            section = section.setdefault(each, {})
            if not isinstance(section, dict):
                raise KeyError(key)
        section[name] = copy.deepcopy(value)


def _faults_of_values(plan: SearchPlan, config: Config) -> Iterator[str]:
    fixed = {"model.freeze", "train.warm_start"}  # they decide what a trial reads
    if config.stores_features:
        fixed.add("train.warm_start_frames")
        fixed |= DECIDE_FEATURES | (DECIDE_VIEWS if config.train.stored_views > 1 else set())
    for key, dimension in plan.space.items():
        if key in fixed:
            yield f"{key} decides the stored features, which all trials share: take it out"
        elif key.partition(".")[0] not in SEARCHED_SECTIONS:
            sections = " or ".join(SEARCHED_SECTIONS)
            yield f"{key} changes no training on the videos at hand: search keys of {sections}"
        else:
            yield from _faults_of_dimension(key, dimension, config)


def _faults_of_dimension(key: str, dimension: Range | Choices, config: Config) -> Iterator[str]:
    known: set[str] = set()  # an unknown key is one fault, not one a value
    for value in dimension.probes:
        try:
            faults = find_faults(with_values(config, {key: value}))
        except KeyError:
            faults = [f"unknown key {key}"]
        yield from (fault for fault in faults if fault not in known)
        known.update(faults)
