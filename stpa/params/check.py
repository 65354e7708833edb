"""Find the errors of parameters, all of them at once, each with what to write instead."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from stpa.config import Config
from stpa.errors import ConfigError
from stpa.options import Options
from stpa.params.document import WEIGHTS, value_at


def check_params(params: dict[str, Any], origin: Path) -> Config:
    """Turn plain values into a `Config`; `origin` is named in the error."""
    if faults := find_faults(params):
        raise ConfigError(f"{origin} has {len(faults)} error(s): " + "; ".join(faults))
    return Config.model_validate(_with_read_options(params))


def _with_read_options(params: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters with options as their types have them: a whole number may stand for
    a fraction."""
    read = dict(params)
    for (section, key), kinds in _option_types().items():
        options = {
            name: TypeAdapter(kinds[name]).validate_python(values).to_dict()
            for name, values in params[section][key].items()
        }
        read[section] = read[section] | {key: options}
    return read


def find_faults(params: dict[str, Any]) -> list[str]:
    """Say what is wrong with plain values."""
    return [
        *_unknown_names(params),
        *_wrong_flow_options(params),
        *_missing_files(params),
        *_wrong_options(params),
        *_wrong_channels(params),
        *_misfits(params),
        *find_misshapes(params, Config),
    ]


def find_misshapes(values: dict[str, Any], model: type, place: str = "") -> list[str]:
    """Say what keeps `values`, which stand at `place`, from being a `model`.

    A `model` is one of pydantic's, or a dataclass.
    """
    try:
        TypeAdapter(model).validate_python(values)
    except ValidationError as error:
        return [_describe(fault, model, place) for fault in error.errors(include_url=False)]
    return []


def _describe(fault: Any, model: type, section: str) -> str:
    place = ".".join(str(part) for part in (section, *fault["loc"]) if part != "")
    if fault["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"unknown key {place}{_suggestion(fault['loc'], model)}"
    if fault["type"] == "missing":
        return f"missing key {place}"
    if fault["type"] == "value_error":
        told = str(fault["ctx"]["error"])
        return told if place in told else f"{place}: {told}"
    return f"{place} is {fault['input']!r}: {fault['msg'].lower()}"


def _suggestion(place: tuple[str | int, ...], model: type) -> str:
    """Name the key that was probably meant."""
    section: Any = model
    if is_dataclass(section):
        return _did_you_mean(str(place[-1]), [field.name for field in fields(section)])
    for part in place[:-1]:
        if part not in section.model_fields:  # a key of a mapping to sections
            continue
        field = section.model_fields[part]
        nested = [
            kind
            for kind in (field.annotation, *getattr(field.annotation, "__args__", ()))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        ]
        section = nested[0]
    return _did_you_mean(str(place[-1]), section.model_fields)


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _unknown_names(params: dict[str, Any]) -> Iterator[str]:
    """Check names against the registries, whose packages are slow to import."""
    import timm

    from stpa.data.datasets import DATASETS
    from stpa.data.sampling import GRIDS
    from stpa.evaluation.fusion import FITTED, FUSION_RULES
    from stpa.models.attention import DOWNSAMPLINGS
    from stpa.models.backbones import TOP_LAYERS, known_backbone
    from stpa.models.stems import FLOW_STEMS
    from stpa.optical_flow import ESTIMATORS
    from stpa.training.optim import SCHEDULES

    registries = {
        ("data", "dataset"): DATASETS,
        ("optical_flow", "estimator"): ESTIMATORS,
        ("model", "top_layer"): TOP_LAYERS,
        ("model", "downsampling"): DOWNSAMPLINGS,
        ("model", "flow_stem"): FLOW_STEMS,
        ("train", "schedule"): SCHEDULES,
        ("evaluate", "grid"): GRIDS,
        ("evaluate", "late_fusion"): [*FUSION_RULES, FITTED],
    }
    for place, known in registries.items():
        for name in _names(params, *place):
            if name not in known:
                yield f"{'.'.join(place)} {name!r} is unknown: choose from {', '.join(known)}"
    for name in _names(params, "model", "backbone"):
        if not known_backbone(name):
            suggestion = _did_you_mean(name, timm.list_models())
            yield f"model.backbone {name!r} is unknown to timm{suggestion}"


def _wrong_flow_options(params: dict[str, Any]) -> Iterator[str]:
    from stpa.optical_flow import ESTIMATORS

    options = value_at(params, "optical_flow", "options")
    for name in _names(params, "optical_flow", "estimator"):
        if name in ESTIMATORS and isinstance(options, dict):
            try:
                signature(ESTIMATORS[name].make).bind(**options)
                ESTIMATORS[name].make(**options)
            except (TypeError, ValueError) as error:
                yield f"optical_flow.options of {name}: {error}"


def _wrong_options(params: dict[str, Any]) -> Iterator[str]:
    """Check the options of what is named where it declares them."""
    for (section, key), kinds in _option_types().items():
        chosen = value_at(params, section, key)
        for name, options in chosen.items() if isinstance(chosen, dict) else ():
            place = f"{section}.{key}.{name}"
            if name not in kinds:
                yield f"{place} is unknown: choose from {', '.join(kinds)}"
            elif isinstance(options, dict):
                yield from find_misshapes(options, kinds[name], place)


def _option_types() -> dict[tuple[str, str], Mapping[str, type[Options]]]:
    """Return the type of each name's options, by the section and key that hold them."""
    from stpa.models.heads import HEADS
    from stpa.registry.rules import RULES

    return {
        ("model", "heads"): {name: head.Options for name, head in HEADS.items()},
        ("promotion", "rules"): RULES,
    }


def _wrong_channels(params: dict[str, Any]) -> Iterator[str]:
    from stpa.channels import find_wrong_channels

    notices = params.get("notices")
    return find_wrong_channels(notices) if isinstance(notices, dict) else iter(())


def _missing_files(params: dict[str, Any]) -> Iterator[str]:
    for place in WEIGHTS:
        for weights in _names(params, *place):
            if "://" not in weights and not Path(weights).is_file():
                yield f"{'.'.join(place)} {weights} is not a file: give a weights file"


def _misfits(params: dict[str, Any]) -> Iterator[str]:
    """Check what one section asks of another, also where either has other faults."""
    batch_size = value_at(params, "train", "batch_size")
    workers = value_at(params, "compute", "workers_per_stream")
    if type(batch_size) is type(workers) is int and workers > batch_size:
        yield f"train.batch_size {batch_size} is below compute.workers_per_stream {workers}"
    fewest = value_at(params, "compute", "fewest_workers")
    if type(fewest) is type(workers) is int and fewest > workers:
        yield f"compute.fewest_workers {fewest} is above compute.workers_per_stream {workers}"
    if fewest is not None and value_at(params, "compute", "checkpoint_steps") is None:
        yield (
            "compute.fewest_workers needs compute.checkpoint_steps: a change of their number costs "
            "the steps since the last checkpoint"
        )
    share = value_at(params, "compute", "gpus_per_worker")
    if type(share) in (int, float) and 0 < share < 1 and type(workers) is int and workers > 1:
        yield (
            f"compute.gpus_per_worker {share} would put several of {workers} workers on one GPU, "
            "which NCCL refuses: take 1 worker, or a whole GPU each"
        )
    in_chunks = value_at(params, "train", "frames_at_once") is not None
    follows = value_at(params, "train", "freeze_batch_norm") == "pretrained"
    if in_chunks and follows and value_at(params, "model", "pretrained") is False:
        yield "train.frames_at_once needs frozen batch norms: set train.freeze_batch_norm to all"
    if value_at(params, "model", "freeze") == "backbone":
        yield from _misfits_of_frozen(params)
    elif (
        value_at(params, "train", "warm_start") == "features"
        and value_at(params, "model", "pretrained") is False
    ):
        yield (
            "train.warm_start features begins with what pretrained weights make of the videos, but "
            "model.pretrained gives none: set warm_start to none, or pretrained to true or to a "
            "weights file"
        )
    yield from _misfits_of_choice(params)
    mirrors = value_at(params, "evaluate", "num_crops") == 10
    if mirrors and value_at(params, "train", "horizontal_flip") is False:
        yield (
            "evaluate.num_crops 10 mirrors videos, but with train.horizontal_flip false their "
            "mirror images are of other classes: take 5"
        )


def _misfits_of_choice(params: dict[str, Any]) -> Iterator[str]:
    stores_features = (
        value_at(params, "model", "freeze") == "backbone"
        or value_at(params, "train", "warm_start") == "features"
    )
    fusion = value_at(params, "evaluate", "late_fusion")
    if fusion == "fitted" and not stores_features:
        yield (
            "evaluate.late_fusion fitted needs heads that learn from features, but "
            "train.warm_start is none: set it to features, or late_fusion to average_logits"
        )
    candidate = value_at(params, "promotion", "candidate")
    heads = value_at(params, "model", "heads")
    if not isinstance(heads, dict):
        return
    if candidate == "auto" and len(heads) > 1 and fusion != "fitted":
        yield (
            "promotion.candidate auto compares heads by the training videos that are held out for "
            f"evaluate.late_fusion fitted: name one of {', '.join(heads)}"
        )
    elif candidate != "auto" and candidate not in heads:
        yield f"promotion.candidate {candidate!r} is not trained: choose from {', '.join(heads)}"


def _misfits_of_frozen(params: dict[str, Any]) -> Iterator[str]:
    if value_at(params, "model", "pretrained") is False:
        yield (
            "model.freeze backbone keeps the weights that model.pretrained gives, which are none: "
            "set model.pretrained to true or to a weights file, or model.freeze to none"
        )
    workers = value_at(params, "compute", "workers_per_stream")
    if type(workers) is int and workers > 1:
        yield (
            f"compute.workers_per_stream {workers} is for whole networks, but with model.freeze "
            "backbone heads alone are trained, which take seconds: set it to 1"
        )
    if value_at(params, "train", "crop_on_device") is True:
        yield (
            "train.crop_on_device crops frames in training, but with model.freeze backbone "
            "their features are stored: set it to false"
        )


def _names(params: dict[str, Any], *place: str) -> list[str]:
    """Return the name or names at a place of params that may be of any shape."""
    value = value_at(params, *place)
    return [name for name in (value if isinstance(value, list) else [value]) if type(name) is str]
