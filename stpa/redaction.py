"""Text without secrets, for what is kept: addresses, errors and command lines may carry some."""

import os
import re
from collections.abc import Mapping

HIDDEN = "***"
SHORTEST_SECRET = 6
"""Characters: a shorter value of the environment is found in ordinary words."""

_SECRET = (
    r"[\w-]*(?:secret|token|passw(?:or)?d|credential|signature|api[_-]?key|access[_-]?key"
    r"|auth[_-]?string)[\w-]*"
)
"""A name that says that its value is one."""
_NAME = re.compile(_SECRET, re.IGNORECASE)
_PATTERNS = (
    # scheme://user:password@host, where a password may hold any character, or scheme://token@host
    r"(?P<kept>\b[a-z][a-z\d+.-]*://)(?:[^\s/@:]+:[^\s@]+|[^\s/@]+)(?=@)",
    # Authorization: Bearer TOKEN
    r"(?P<kept>\b(?:bearer|basic)\s+)[\w.~+/=-]{6,}",
    # ?token=..., "password": "..."; but not what a message says of a variable: token: NAME=...
    rf"(?P<kept>\b{_SECRET}[\"']?\s*[=:]\s*[\"']?)(?!(?-i:[A-Z_]+=))[^\s\"'&,;]+",
)
_COMPILED = tuple(re.compile(pattern, re.IGNORECASE) for pattern in _PATTERNS)
_NO_SECRETS = ("PATH", "FILE", "DIR", "MODE")
"""Ends of names whose values only say where or how."""


def hide_path(address: str) -> str:
    """Return an http(s) address with `HIDDEN` for its user and for all that follows its host.

    A webhook's path is its password. What is no such address, as `$NAME`, stays as it is.
    """
    return re.sub(r"^(https?://)(?:[^/?#]*@)?([^/?#]*)[/?#].+", rf"\1\2/{HIDDEN}", address)


def redact(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return `text` with `HIDDEN` for each secret.

    Secrets are what `environment` holds under a secret's name, users and passwords in addresses,
    and what follows a secret's name.
    """
    values = [
        value
        for name, value in environment.items()
        if _NAME.fullmatch(name) and not name.endswith(_NO_SECRETS)
    ]
    for value in sorted(values, key=len, reverse=True):  # one may be a part of another
        if len(value) >= SHORTEST_SECRET:
            text = text.replace(value, HIDDEN)
    for pattern in _COMPILED:
        text = pattern.sub(rf"\g<kept>{HIDDEN}", text)
    return text
