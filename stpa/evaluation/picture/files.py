"""The formats of a picture, by the suffix of its file."""

from pathlib import Path

from matplotlib.figure import Figure

from stpa.errors import ConfigError
from stpa.evaluation.lettering import boxes_for_missing_glyphs
from stpa.files import atomic_path

FORMATS = (".png", ".jpg", ".jpeg", ".webp", ".svg", ".pdf")


def check_format(path: Path) -> None:
    """Raise ConfigError unless `path` ends in one of `FORMATS`."""
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(
            f"no picture can be written as {path.name!r}: end its name in {', '.join(FORMATS)}"
        )


def write_picture(path: Path, figure: Figure) -> None:
    """Write a figure, atomically, in the format of the path's suffix."""
    with atomic_path(path) as temporary, boxes_for_missing_glyphs():
        figure.savefig(temporary, dpi="figure")
