"""Bring a params file of an earlier format to the current one.

`version` in a params file is its format, `stpa.config.FORMAT` the one that this stpa reads; a file
without `version` has format 1. To add, rename or remove a key of params.yaml:

1. change `stpa/config/`, params.yaml and, where they differ from it, the other presets;
2. write into the step that leads to the next release's format what keeps the old behaviour, with
   the methods of `Edits`: `params.add("train.patience", None)`, `params.rename("data.folds",
   "data.num_folds")`, `params.remove("train.crop")`. A key that is added takes its place and its
   comment from params.yaml;
3. if that format has been released already, raise FORMAT first, and add a step for it to STEPS.

A changed default needs no step: a file keeps the values it has.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from stpa.config import FORMAT, Config
from stpa.errors import ConfigError
from stpa.params.changes import ABSENT, find_changes
from stpa.params.document import Document, read_document, value_at
from stpa.presets import preset_path

VERSION = "version"
_NAMED = 5
"""Keys that an error names before it only counts them."""


class Edits:
    """Changes of keys, by their dotted paths, that leave the comments of all others in place.

    What is not as expected, such as a section that is missing, is left for the check of the result.
    """

    def __init__(self, params: CommentedMap, model: CommentedMap) -> None:
        """Edit `params`; `model` has all keys of the current format, in order, with comments."""
        self._params = params
        self._model = model

    def get(self, key: str) -> Any:
        """Return the value of `key`; None where it is missing."""
        return value_at(self._params, *key.split("."))

    def add(self, key: str, value: Any) -> None:
        """Give a missing `key` a value."""
        section, name = self._find(self._params, key)
        model, _ = self._find(self._model, key)
        if section is None or name in section:
            return
        known, present = list(model or ()), list(section)
        before = known[: known.index(name)] if name in known else present  # else the last
        position = max((present.index(each) + 1 for each in before if each in present), default=0)
        section.insert(position, name, value)
        if model is not None and name in model.ca.items:
            section.ca.items[name] = model.ca.items[name]

    def set(self, key: str, value: Any) -> None:
        """Change the value of `key`, where it is there."""
        section, name = self._find(self._params, key)
        if section is not None and name in section:
            section[name] = value

    def nest(self, key: str, sections: Mapping[str, str]) -> None:
        """Make a missing section `key` of sections that have keys of their own, by new name."""
        found = {name: self.get(old) for name, old in sections.items()}
        self.add(key, CommentedMap({name: each for name, each in found.items() if each}))
        for old in sections.values():
            self.remove(old)

    def remove(self, key: str) -> None:
        """Remove `key`, where it is there, and its comments."""
        section, name = self._find(self._params, key)
        if section is not None and name in section:
            del section[name]
            section.ca.items.pop(name, None)

    def rename(self, key: str, new: str) -> None:
        """Give the value of `key`, where it is there, and its comments to the missing key `new`."""
        section, name = self._find(self._params, key)
        target, new_name = self._find(self._params, new)
        if section is None or target is None or name not in section or new_name in target:
            return
        own = section.ca.items.get(name)
        self.add(new, section[name])
        self.remove(key)
        if own and any(own):
            target.ca.items[new_name] = own

    @staticmethod
    def _find(params: CommentedMap, key: str) -> tuple[CommentedMap | None, str]:
        *sections, name = key.split(".")
        section = value_at(params, *sections)
        return (section if isinstance(section, CommentedMap) else None), name


def _to_2(params: Edits) -> None:
    params.add(VERSION, 2)
    params.add("data.max_frames", None)
    params.add("data.max_megapixels", None)
    params.add("data.decode_memory_gib", None)
    params.add("model.flow_input", "as_rgb")
    params.add("model.flow_stem", "mean")
    params.add("model.freeze", "none")
    params.add("model.score_norm", "none")
    params.add("model.aggregate", "maps")
    params.add("promotion.candidate", "stpa")
    params.add("train.min_steps_per_epoch", 1)
    params.add("train.stored_views", 1)
    params.add("train.warm_start", "none")
    params.add("train.warm_start_steps", 300)
    params.add("train.warm_start_frames", 25)
    params.add("data.synthetic.action_share", _short_list(0.7, 0.85))
    params.add("data.synthetic.actor_radius", _short_list(0.18, 0.21))
    params.add("data.synthetic.home", "centre")
    params.add("data.synthetic.distractor", "none")
    params.add("data.synthetic.clutter", "still")
    params.add("notices", _of_nothing("webhook", "command", "file"))


def _to_3(params: Edits) -> None:
    options = CommentedMap()
    for name, old in _OPTIONS_OF_STPA.items():
        options[name] = params.get(old)
        params.remove(old)
    heads = CommentedMap({"stpa": options})
    if params.get("evaluate.baseline"):
        heads["tsn"] = CommentedMap()
        heads["tsn"].fa.set_flow_style()
    params.remove("evaluate.baseline")
    params.add("model.heads", heads)
    params.nest("train.streams", {name: f"train.{name}" for name in ("rgb", "flow")})
    names = params.get("promotion.rules")
    if isinstance(names, list):
        min_gain = {"min_gain": params.get("promotion.min_gain")}
        limits = {"no_worse_than_champion": min_gain}
        rules = CommentedMap({name: CommentedMap(limits.get(name, {})) for name in names})
        for section in rules.values():
            section.fa.set_flow_style()
        params.set("promotion.rules", rules)
    params.remove("promotion.min_gain")
    is_fitted = params.get("evaluate.late_fusion") == "fitted"
    if params.get("promotion.candidate") == "auto" and not is_fitted:
        params.set("promotion.candidate", "stpa")  # as auto was, where nothing was held out


_OPTIONS_OF_STPA = {
    "scale_fusion": "model.fusion",
    "map_norm": "model.map_norm",
    "score_norm": "model.score_norm",
    "aggregate": "model.aggregate",
    "interactive_loss": "train.interactive_loss",
    "interactive_weight": "train.interactive_weight",
    "attention_loss": "train.attention_loss",
    "attention_weight": "train.attention_weight",
}
"""Where the options of the head stpa stood before heads had sections of their own."""


def _of_nothing(*keys: str) -> CommentedMap:
    """Return a section whose keys are all null."""
    return CommentedMap(dict.fromkeys(keys))


def _short_list(*values: float) -> CommentedSeq:
    """Return a list that is written on one line, as in the presets."""
    listed = CommentedSeq(values)
    listed.fa.set_flow_style()
    return listed


STEPS: dict[int, Callable[[Edits], None]] = {1: _to_2, 2: _to_3}
"""What brings a file of each earlier format to the next one."""


def upgrade(document: Document, path: Path) -> None:
    """Bring `document` to the current format, with the values that keep the old behaviour.

    Raises ConfigError for a format that this stpa does not know; `path` is named in it.
    """
    found = _format(document, path)
    if found == FORMAT:
        return
    edits = Edits(document.root, read_document(preset_path("standard")).root)
    for number in range(found, FORMAT):
        STEPS[number](edits)
        document.root[VERSION] = number + 1


def require_current(document: Document, path: Path) -> None:
    """Raise ConfigError for another format, naming what is missing and the command for it."""
    found = _format(document, path)
    if found == FORMAT:
        return
    current = read_document(path)
    upgrade(current, path)
    changes = find_changes(document.values, current.values)
    lacking = [change.key for change in changes if change.old == ABSENT]
    names = ", ".join(lacking[:_NAMED])
    more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
    lacks = f"; it lacks {names}{more}" if lacking else ""
    raise ConfigError(
        f"{path} has format {found}, but this stpa reads format {FORMAT}{lacks}: "
        f"run `stpa init {quote(str(path.parent))} --upgrade`"
    )


def _format(document: Document, path: Path) -> int:
    version = document.root.get(VERSION, 1)
    if type(version) is not int or version < 1:
        raise ConfigError(
            f"{path}: version is {version!r}, but it must be a whole number from 1 on"
        )
    if version > FORMAT:
        raise ConfigError(
            f"{path} has format {version}, but this stpa reads format {FORMAT} at most: "
            "install a newer stpa"
        )
    if not document.root.keys() & Config.model_fields.keys():  # such as another DVC project's
        raise ConfigError(f"{path} is not of stpa, as it has no section of it: take another folder")
    return version
