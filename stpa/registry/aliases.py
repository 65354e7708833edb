"""Move the aliases `challenger`, `champion` and `previous`, so that no kill leaves them wrong.

The fusion's `champion` is what is served, and moving it is one step for every reader; it moves
last. The aliases of its networks name what the fusion's versions name. A move is written
down first (`SWITCH_TAG`): after a kill at any instant, `finish_interrupted` ends it.
"""

import uuid
from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stpa.errors import RegistryError
from stpa.registry.tracking import Tracker, Version
from stpa.streams import STREAMS

CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"
SWITCH_TAG = "stpa.switch"


class Switch(BaseModel):
    """An intended move: which versions of the fusion become champion and previous."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Literal["promote", "rollback"]
    champion: int
    previous: int | None
    id: str = Field(default_factory=lambda: uuid.uuid4().hex)
    """The same however often the move is finished after kills."""


OnMoved = Callable[[Switch], None]
"""Called with each move once it is made, and again if a kill comes before it is struck out."""


def stream_model(model_name: str, stream: str) -> str:
    """Return the name that one network of `model_name` is registered by."""
    return f"{model_name}-{stream}"


def fusion_model(model_name: str) -> str:
    """Return the name that the fusion of `model_name` is registered by."""
    return f"{model_name}-fusion"


def version_tag(stream: str) -> str:
    """Return the tag of a fusion's version that names the version of a network in it."""
    return f"stpa.{stream}_version"


def run_tag(stream: str) -> str:
    """Return the tag of a fusion's run that names the run of a network in it."""
    return f"stpa.{stream}_run"


def find_champion(tracker: Tracker, model_name: str) -> Version:
    """Return the fusion that is served. Raises RegistryError where there is none yet."""
    name = fusion_model(model_name)
    aliases = tracker.registered(name).aliases
    if CHAMPION in aliases:
        return tracker.version(name, aliases[CHAMPION])
    if CHALLENGER in aliases:
        raise RegistryError(
            f"{name} at {tracker.place} has no champion: version {aliases[CHALLENGER]} did not "
            "pass the rules for promotion (`stpa predict --challenger` uses it all the same)"
        )
    raise RegistryError(
        f"{name} at {tracker.place} has no champion: train and promote one with `stpa retrain`"
    )


def find_challenger(tracker: Tracker, model_name: str) -> Version:
    """Return the latest candidate, promoted or not. Raises RegistryError where there is none."""
    name = fusion_model(model_name)
    challenger = tracker.version_by_alias(name, CHALLENGER)
    if challenger is None:
        raise RegistryError(
            f"{name} at {tracker.place} has no challenger: train one with `stpa retrain`"
        )
    return challenger


def point(tracker: Tracker, model_name: str, alias: str, number: int) -> None:
    """Point `alias` at a version of the fusion, and first at the networks in it."""
    fusion = tracker.version(fusion_model(model_name), number)
    for stream in STREAMS:
        if version := fusion.tags.get(version_tag(stream)):
            tracker.set_alias(stream_model(model_name, stream), alias, int(version))
    tracker.set_alias(fusion.name, alias, number)


def switch(tracker: Tracker, model_name: str, move: Switch, on_moved: OnMoved) -> None:
    """Write a move down, make it, and strike it out."""
    tracker.tag_model(fusion_model(model_name), SWITCH_TAG, move.model_dump_json())
    _apply(tracker, model_name, move, on_moved)


def finish_interrupted(tracker: Tracker, model_name: str, on_moved: OnMoved) -> Switch | None:
    """Make the move that a killed process wrote down, and return it."""
    name = fusion_model(model_name)
    written = tracker.registered(name).tags.get(SWITCH_TAG)
    if written is None:
        return None
    try:
        move = Switch.model_validate_json(written)
    except ValidationError as error:
        raise RegistryError(
            f"tag {SWITCH_TAG} of {name} at {tracker.place} is not a move of aliases: "
            "delete the tag in MLflow"
        ) from error
    _apply(tracker, model_name, move, on_moved)
    return move


def _apply(tracker: Tracker, model_name: str, move: Switch, on_moved: OnMoved) -> None:
    if move.previous is not None:
        point(tracker, model_name, PREVIOUS, move.previous)
    point(tracker, model_name, CHAMPION, move.champion)
    on_moved(move)  # before the move is struck out: after that nobody would know of it
    tracker.untag_model(fusion_model(model_name), SWITCH_TAG)
