"""The picture of the places that decided, read back from its file."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from stpa.errors import ConfigError
from stpa.evaluation.picture import FORMATS, FRAMES_SHOWN, check_format, draw_evidence
from stpa.evaluation.predict import Explanation, StreamEvidence

GREEN, SIZE = (0, 160, 0), 64


def seen(indices: list[int], by_frame: list[float]) -> StreamEvidence:
    """Make green frames whose evidence lies in their left upper corner."""
    evidence = np.zeros((len(by_frame), 4, 4), np.float32)
    evidence[:, 0, 0] = by_frame
    evidence[:, 3, 3] = -5  # against the class
    frames = np.full((len(by_frame), SIZE, SIZE, 3), GREEN, np.uint8)
    return StreamEvidence(frames, np.array(indices), evidence)


def explanation(fps: float = 25.0, **streams: StreamEvidence) -> Explanation:
    return Explanation(np.zeros(2, np.float32), streams, fps)


@pytest.fixture
def titles(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the titles of the frames that are drawn."""
    drawn: list[str] = []
    set_title = Axes.set_title

    def collect(axis: Axes, label: str, **options):
        drawn.append(label)
        return set_title(axis, label, **options)

    monkeypatch.setattr(Axes, "set_title", collect)
    return drawn


def test_the_frames_with_the_most_evidence_are_titled_in_their_order(
    tmp_path: Path, titles: list[str]
) -> None:
    by_frame = [0.0, 2.0, 1.0, 0.0, 3.0, 1.0, 1.0, 2.0]
    rgb = seen([10 * place for place in range(8)], by_frame)
    draw_evidence(tmp_path / "a.png", "swim", explanation(rgb=rgb))
    shares = ["0.4 s: 20%", "0.8 s: 10%", "1.6 s: 30%", "2.0 s: 10%", "2.4 s: 10%", "2.8 s: 20%"]
    assert titles == shares
    assert len(titles) == FRAMES_SHOWN


def test_a_short_video_shows_each_of_its_frames_once(tmp_path: Path, titles: list[str]) -> None:
    rgb = seen([0, 0, 0, 1], [1, 1, 1, 9])
    draw_evidence(tmp_path / "a.png", "swim", explanation(rgb=rgb))
    assert titles == ["0.0 s: 25%", "0.0 s: 75%"]


def test_without_a_frame_rate_frames_are_numbered(tmp_path: Path, titles: list[str]) -> None:
    draw_evidence(tmp_path / "a.png", "swim", explanation(fps=0.0, rgb=seen([0, 4], [1, 3])))
    assert titles == ["frame 1: 25%", "frame 5: 75%"]


def test_where_nothing_speaks_for_the_class_shares_are_none(
    tmp_path: Path, titles: list[str]
) -> None:
    draw_evidence(tmp_path / "a.png", "swim", explanation(rgb=seen([0, 5], [0, 0])))
    assert titles == ["0.0 s: 0%", "0.2 s: 0%"]


def test_frames_keep_their_colour_but_where_evidence_lies(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    draw_evidence(path, "swim", explanation(rgb=seen([0], [1])))
    picture = np.asarray(Image.open(path).convert("RGB"))
    green = (picture == GREEN).all(axis=2)
    rows, columns = (np.flatnonzero(green.any(axis=axis)) for axis in (1, 0))
    frame = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert 0.8 < green[frame].mean() < 0.99
    red, _green, blue = picture[frame][3, 3]
    assert min(red, blue) > 90


def test_both_streams_have_a_row_whatever_their_order(tmp_path: Path, titles: list[str]) -> None:
    flow, rgb = seen([0], [1]), seen([25], [1])
    draw_evidence(tmp_path / "a.png", "swim", explanation(flow=flow, rgb=rgb))
    assert titles == ["1.0 s: 100%", "0.0 s: 100%"]


@pytest.mark.parametrize("name", ["costs $5 or $\\odd$", "游泳", "läuft weg"])
def test_any_class_name_can_be_drawn(tmp_path: Path, name: str) -> None:
    draw_evidence(tmp_path / "a.png", name, explanation(rgb=seen([0], [1])))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("suffix", [*FORMATS, ".PNG"])
def test_every_listed_format_is_written(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    check_format(path)
    draw_evidence(path, "swim", explanation(rgb=seen([0], [1])))
    assert path.stat().st_size > 1000


@pytest.mark.parametrize("name", ["a.gif", "a", "a.mp4"])
def test_another_format_is_refused_with_those_that_are_known(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{name}': end its name in \.png, \.jpg, .*\.pdf"):
        check_format(Path(name))
