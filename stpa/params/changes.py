"""What differs between two sets of parameters, key by key."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ABSENT = "(absent)"


@dataclass(frozen=True)
class Change:
    """A key whose value changes."""

    key: str
    """Its dotted path."""
    old: str
    """The value as text; ABSENT for none."""
    new: str


def find_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Return the keys whose values differ, in the order of `new`, then those that it lacks."""
    return list(_find(old, new, ""))


def _find(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str) -> Iterator[Change]:
    for key in [*new, *(key for key in old if key not in new)]:
        before, after = old.get(key, ...), new.get(key, ...)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _find(before, after, f"{prefix}{key}.")
        elif before != after:
            yield Change(f"{prefix}{key}", _shown(before), _shown(after))


def _shown(value: Any) -> str:
    return ABSENT if value is ... else json.dumps(value, ensure_ascii=False, default=str)
