"""A params file as a document: its values together with the comments that explain them.

ruamel.yaml ties a comment to the key before it, so that a key which is replaced or removed would
take the comment of the next one along. Here every key owns the end of its own line and the comment
lines above it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import takewhile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import CommentMark, YAMLError
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.tokens import CommentToken

from stpa.errors import ConfigError, one_line

EXTENDS = "extends"
"""A params file with this key adds to, or overrides, the file it names (relative to itself)."""

WEIGHTS = (("model", "pretrained"), ("optical_flow", "options", "weights"))
PATHS = (("data", "source"), *WEIGHTS)
"""Keys that may hold a relative path; it counts from the folder of the file that states it."""

_ABOVE, _AT_END = 1, 2
"""Positions of a key's comments in ruamel's record of it: lines above it; the end of its line."""
_INDENT = 2


@dataclass(frozen=True)
class Document:
    """A params file merged over the files that it extends."""

    root: CommentedMap
    """The values, which may be changed in place; each key has its comments."""
    head: str
    """The comment lines at the top of the nearest file that has some."""
    tail: str
    """The same at the end."""
    files: tuple[Path, ...]
    """All files that were read, the extending one before the extended one."""

    @property
    def values(self) -> dict[str, Any]:
        """The values alone, as plain Python objects."""
        return plain(self.root)

    def text(self, head: str) -> str:
        """Return a file that stands alone, with `head` above the first key."""
        stream = StringIO()
        _round_trip().dump(self.root, stream)
        gap = "\n" if head else ""
        return f"{head}{gap}{stream.getvalue().lstrip()}{self.tail}"


def read_document(path: Path) -> Document:
    """Read a params file over the files that it extends, its relative paths made absolute.

    Where both have a comment for a key, the extending file's is kept. Raises ConfigError.
    """
    return _read(path, seen=())


def read_yaml(path: Path, kind: str, content: str) -> tuple[CommentedMap, list[str]]:
    """Read a YAML file of some `kind` whose `content` is keys; return these and the file's lines.

    Raises ConfigError, which names `kind` and `content`.
    """
    try:
        text = path.read_text(encoding="utf-8")
        root = _round_trip().load(text)
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist: give the path of a {kind}") from error
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise ConfigError(f"{path} is not readable YAML: {one_line(error)}") from error
    if not isinstance(root, CommentedMap):
        raise ConfigError(f"{path} must hold {content}, not {plain(root)!r}")
    return root, text.rstrip("\n").split("\n")


def plain(value: Any) -> Any:
    """Return what ruamel.yaml read as plain Python objects."""
    if isinstance(value, dict):
        return {plain(key): plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    kinds = (bool, int, float, str)
    return next((kind(value) for kind in kinds if isinstance(value, kind)), value)


def value_at(values: Any, *keys: str) -> Any:
    """Return the value at nested keys of values that may have any shape; None: there is none."""
    for key in keys:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def _read(path: Path, seen: tuple[Path, ...]) -> Document:
    if path.resolve() in seen:
        raise ConfigError(f"{path} extends itself: remove one `{EXTENDS}`")
    root, lines = read_yaml(path, "params file", "sections (data:, model:, ...)")
    head, tail = _take_outer_comments(lines)
    _own_comments(root, lines)
    _resolve_paths(root, path.resolve().parent)
    base = root.pop(EXTENDS, None)
    seen = (*seen, path.resolve())
    if base is None:
        return Document(root, head, tail, seen)
    below = _read(path.parent / str(base), seen)
    _merge(below.root, root)
    return Document(below.root, head or below.head, tail or below.tail, below.files)


def _take_outer_comments(lines: list[str]) -> tuple[str, str]:
    """Return the comment lines above and below all keys; the former are blank lines afterwards."""
    head = list(takewhile(lambda line: line.startswith("#"), lines))
    lines[: len(head)] = [""] * len(head)
    return _join(head), _join(_comments_before(lines, len(lines)))


def _own_comments(section: CommentedMap, lines: Sequence[str], depth: int = 0) -> None:
    """Give each key of a section, and of the sections in it, its own comments."""
    found = dict(section.ca.items)
    section.ca.items.clear()
    section.ca.comment = None
    if section.fa.flow_style():  # {a: 1, b: 2} has no room for comments
        return
    for key, (line, *_) in (section.lc.data or {}).items():
        above = _comments_before(lines, line)
        section.ca.items[key] = [
            None,
            [_comment(text.strip(), depth * _INDENT) for text in above] or None,
            _own_end(found.get(key), section[key]),
            None,
        ]
        if isinstance(section[key], CommentedMap):
            _own_comments(section[key], lines, depth + 1)


def _own_end(found: Sequence[Any] | None, value: Any) -> CommentToken | None:
    """Return the comment at the end of a key's line, without what belongs to the next key."""
    token = found[_AT_END] if found else None
    if isinstance(value, CommentedSeq) and not value.fa.flow_style():
        last = value.ca.items.get(len(value) - 1)
        if last and last[0]:
            last[0] = _first_line(last[0])
        return token  # its further lines are the first item's
    return _first_line(token) if token else None


def _first_line(token: CommentToken) -> CommentToken | None:
    text = token.value.partition("\n")[0]
    return _comment(text, token.start_mark.column) if text else None


def _comment(text: str, column: int) -> CommentToken:
    return CommentToken(f"{text}\n", CommentMark(column if text else 0), None)


def _comments_before(lines: Sequence[str], end: int) -> list[str]:
    """Return the comment lines and blank lines right before line `end`."""
    found = takewhile(lambda line: line.strip()[:1] in ("", "#"), reversed(lines[:end]))
    return list(found)[::-1]


def _join(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _merge(below: CommentedMap, over: CommentedMap) -> None:
    """Change `below` by the values and the comments of `over`."""
    for key, value in over.items():
        section = below.get(key)
        if isinstance(section, CommentedMap) and isinstance(value, CommentedMap):
            if not value.fa.flow_style():
                section.fa.set_block_style()
            _merge(section, value)
        else:
            below[key] = value
        _take_comments(below, over, key)


def _take_comments(below: CommentedMap, over: CommentedMap, key: Any) -> None:
    given = over.ca.items.get(key) or [None] * 4
    own = below.ca.items.setdefault(key, given)
    if any(token.value.strip() for token in given[_ABOVE] or ()):  # not only blank lines
        own[_ABOVE] = given[_ABOVE]
    own[_AT_END] = given[_AT_END] or own[_AT_END]


def _resolve_paths(root: CommentedMap, folder: Path) -> None:
    for *sections, key in PATHS:
        value = value_at(root, *sections, key)
        if isinstance(value, str) and "://" not in value:
            value_at(root, *sections)[key] = str((folder / value).resolve())


def _round_trip() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096  # a line that a person wrote stays one line
    yaml.Representer = _Representer
    return yaml


class _Representer(RoundTripRepresenter):
    """Writes null as such, not as nothing at all."""


_Representer.add_representer(
    type(None), lambda self, _: self.represent_scalar("tag:yaml.org,2002:null", "null")
)
