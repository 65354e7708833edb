"""Names in pictures: fonts for any script, and an end to names that are too long."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from matplotlib.font_manager import FontEntry, findfont, fontManager
from matplotlib.ft2font import FT2Font
from rich.text import Text

DEFAULT_FAMILY = "DejaVu Sans"
REGULAR = 400


def families_for(text: str) -> list[str]:
    """Return the font families that show `text` together, as far as they are installed.

    The first is matplotlib's own. Others follow for characters that those before them lack.
    """
    families = [DEFAULT_FAMILY]
    missing = {ord(character) for character in text} - _characters(findfont(DEFAULT_FAMILY))
    for entry in sorted(fontManager.ttflist, key=_unlikeness):
        if not missing:
            break
        found = missing & _characters(entry.fname)
        if found and not entry.name.startswith("Last Resort"):  # boxes for all characters
            families.append(entry.name)
            missing -= found
    return families


@contextmanager
def boxes_for_missing_glyphs() -> Iterator[None]:
    """Let matplotlib draw a box for a character that no font has, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def shorten(text: str, num_cells: int) -> str:
    """Cut `text` to so many narrow characters on one line; those of East Asia count as two."""
    line = Text(" ".join(text.split()))
    line.truncate(num_cells, overflow="ellipsis")
    return line.plain


def _unlikeness(entry: FontEntry) -> tuple[bool, bool, bool]:
    """Put fonts without serifs first, and upright and regular ones before others."""
    return "Sans" not in entry.name, entry.style != "normal", entry.weight != REGULAR


@cache
def _characters(file: str) -> frozenset[int]:
    return frozenset(FT2Font(file).get_charmap())
