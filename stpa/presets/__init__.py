"""Params files to start a workspace from, packaged with stpa.

The first line of each file says what it is for. standard.yaml is the params.yaml at the top of the
repository; the others extend it.
"""

from pathlib import Path

from stpa.errors import ConfigError

DEFAULT = "small"
"""What `stpa init` takes unless told otherwise: a new user has tens to hundreds of clips, and with
`standard` so few clips give too few steps to learn from."""

NAMES = ("small", "quick", "standard", "demo", "where-and-when", "paper", "charades")

_FOLDER = Path(__file__).parent


def preset_path(name: str) -> Path:
    """Return the file of the preset `name`. Raises ConfigError for an unknown name."""
    if name not in NAMES:
        raise ConfigError(f"preset {name!r} is unknown: choose from {', '.join(NAMES)}")
    return _FOLDER / f"{name}.yaml"


def preset_purposes() -> dict[str, str]:
    """Return what each preset is for, in one line, by its name."""
    return {name: _first_line(preset_path(name)).removeprefix("# ") for name in NAMES}


def preset_name(path: Path) -> str | None:
    """Return the name of the preset that `path` is the file of; None for any other file."""
    return path.stem if path.parent == _FOLDER and path.stem in NAMES else None


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8") as lines:
        return next(lines).rstrip()
