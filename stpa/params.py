"""Read params.yaml into a `Config`, reporting every fault at once."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from stpa.config import Config
from stpa.errors import ConfigError

EXTENDS = "extends"
"""A params file with this key adds to, or overrides, the file it names (relative to itself)."""


def load_config(path: Path) -> Config:
    """Read and check a params file. Raises ConfigError naming every fault in it."""
    return check_params(read_params(path), path)


def read_params(path: Path) -> dict[str, Any]:
    """Read a params file, merged over the files it extends."""
    return _read(path, seen=())


def check_params(params: dict[str, Any], origin: Path) -> Config:
    """Turn plain values into a `Config`; `origin` is named in the error."""
    try:
        config = Config.model_validate(params)
    except ValidationError as error:
        faults = [_describe(fault) for fault in error.errors(include_url=False)]
    else:
        faults = list(_unknown_names(config))
        if not faults:
            return config
    raise ConfigError(f"{origin} has {len(faults)} fault(s): " + "; ".join(faults))


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in seen:
        raise ConfigError(f"{path} extends itself: remove one `{EXTENDS}`")
    try:
        params = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist: give the path of a params file") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} is not readable YAML: {reason}") from error
    if not isinstance(params, dict):
        raise ConfigError(f"{path} must hold sections (data:, model:, ...), not {params!r}")
    base = params.pop(EXTENDS, None)
    if base is None:
        return params
    return _merge(_read(path.parent / str(base), (*seen, path.resolve())), params)


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both_sections = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = _merge(below, value) if both_sections else value  # pyright: ignore[reportArgumentType]
    return merged


def _describe(fault: Any) -> str:
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"unknown key {place}{_suggestion(fault['loc'])}"
    if fault["type"] == "missing":
        return f"missing key {place}"
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    return f"{place} is {fault['input']!r}: {fault['msg'].lower()}"


def _suggestion(place: tuple[str | int, ...]) -> str:
    """Name the key that was probably meant."""
    section: Any = Config
    for part in place[:-1]:
        field = section.model_fields.get(part)
        nested = [
            kind
            for kind in (field.annotation, *getattr(field.annotation, "__args__", ()))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        ]
        section = nested[0]
    close = get_close_matches(str(place[-1]), section.model_fields, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _unknown_names(config: Config) -> Iterable[str]:
    """Check names against the registries, whose packages are slow to import."""
    from stpa.data.datasets import DATASETS
    from stpa.evaluation.fusion import FUSION_RULES
    from stpa.models.backbones import known_backbone
    from stpa.optical_flow import ESTIMATORS
    from stpa.registry.rules import RULES

    chosen = [
        ("data.dataset", [config.data.dataset], DATASETS),
        ("optical_flow.estimator", [config.optical_flow.estimator], ESTIMATORS),
        ("evaluate.late_fusion", [config.evaluate.late_fusion], FUSION_RULES),
        ("promotion.rules", config.promotion.rules, RULES),
    ]
    for place, names, known in chosen:
        for name in names:
            if name not in known:
                yield f"{place} {name!r} is unknown: choose from {', '.join(known)}"
    if not known_backbone(config.model.backbone):
        yield f"model.backbone {config.model.backbone!r} is unknown to timm"
