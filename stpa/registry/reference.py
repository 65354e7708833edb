"""Registered models as people and MLflow name them: NAME@ALIAS or NAME/VERSION."""

import re
from typing import TYPE_CHECKING

from stpa.errors import RegistryError, UsageError

if TYPE_CHECKING:
    from stpa.registry.tracking.models import Models, Version

SCHEME = "models:/"
_REFERENCE = re.compile(r"(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<number>\d+))")


def check_reference(reference: str) -> None:
    """Raise UsageError unless `reference` has one of the two forms, with or without `SCHEME`."""
    if not _REFERENCE.fullmatch(reference.removeprefix(SCHEME)):
        raise UsageError(
            f"{reference!r} names no registered model: give NAME@ALIAS, such as "
            "video-classifier-fusion@champion, or NAME/VERSION"
        )


def find_version(models: "Models", reference: str) -> "Version":
    """Return the version that `reference` names. Raises RegistryError where there is none."""
    check_reference(reference)
    found = _REFERENCE.fullmatch(reference.removeprefix(SCHEME))
    assert found is not None
    name, alias, number = found["name"], found["alias"], found["number"]
    if number is not None:
        return models.version(name, int(number))
    aliases = models.registered(name).aliases
    if alias not in aliases:
        known = ", ".join(sorted(aliases)) or "none: is the name right?"
        raise RegistryError(
            f"{name} at {models.place} has no alias {alias!r} (it has {known}): name another, "
            "or a version, as NAME/1"
        )
    return models.version(name, aliases[alias])
