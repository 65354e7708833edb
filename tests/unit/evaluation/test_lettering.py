import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from stpa.evaluation.lettering import DEFAULT_FAMILY, families_for, shorten

ROUND_ARROW = (
    "\u20d5"  # in STIXGeneral, which matplotlib brings, and not in its own sans serif font
)


def test_matplotlibs_own_font_is_enough_for_what_it_has() -> None:
    assert families_for("läuft weg, бежит, τρέχει") == [DEFAULT_FAMILY]


def test_a_character_that_the_own_font_lacks_brings_one_that_has_it(tmp_path) -> None:
    families = families_for(f"a {ROUND_ARROW}")
    assert len(families) == 2
    with mpl.rc_context({"font.family": families}):
        figure = Figure()
        figure.text(0, 0, ROUND_ARROW)
        figure.savefig(tmp_path / "a.png")  # a missing glyph would be a warning, and so an error


def test_what_no_font_has_stays_without_one() -> None:
    assert families_for("\U000e0041") == [DEFAULT_FAMILY]


@pytest.mark.parametrize(
    ("text", "num_cells", "expected"),
    [
        ("swim", 4, "swim"),
        ("swimming", 5, "swim…"),
        ("游泳很好", 8, "游泳很好"),
        ("游泳很好", 5, "游泳…"),
        ("two\nlines", 20, "two lines"),
    ],
)
def test_names_are_cut_to_what_fits_on_a_line(text: str, num_cells: int, expected: str) -> None:
    assert shorten(text, num_cells) == expected
