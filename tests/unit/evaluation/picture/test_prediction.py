"""The picture of a prediction: what its texts say, and its pixels, read back from the file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from stpa.errors import ConfigError
from stpa.evaluation.explain import Explanation, StreamEvidence, best_contrast
from stpa.evaluation.lettering import boxes_for_missing_glyphs
from stpa.evaluation.picture import (
    FORMATS,
    FRAMES_SHOWN,
    WHOLE_FRAMES,
    check_format,
    draw_prediction,
    write_picture,
)

GREEN, SIZE = (0, 160, 0), 64
LOGITS = np.array([0.0, 3.0, 2.0, -1.0], np.float32)
NAMES = ("climb", "dive", "swim", "walk")


def seen(by_frame: list[float], indices: list[int] | None = None) -> StreamEvidence:
    """Make green frames whose evidence lies in their left upper corner."""
    num_frames = len(by_frame)
    evidence = np.zeros((num_frames, 4, 4), np.float32)
    evidence[:, 0, 0] = by_frame
    return StreamEvidence(
        frames=np.full((num_frames, SIZE, SIZE, 3), GREEN, np.uint8),
        flow=None,
        indices=np.arange(num_frames) if indices is None else np.array(indices),
        evidence=evidence,
        frame_weights=np.full(num_frames, 1 / num_frames),
        logits=LOGITS,
    )


def flow_seen(by_frame: list[float]) -> StreamEvidence:
    """Make frames that move to the right."""
    flow = np.zeros((len(by_frame), 2, SIZE, SIZE), np.float32)
    flow[:, 0] = 4
    return replace(seen(by_frame), flow=flow)


def whole_frames(evidence: StreamEvidence, weights: list[float]) -> StreamEvidence:
    by_frame = evidence.evidence.sum(axis=(1, 2), keepdims=True)
    return replace(evidence, evidence=by_frame, frame_weights=np.array(weights))


def explain(
    scores: np.ndarray = LOGITS,
    names: tuple[str, ...] = NAMES,
    *,
    multi_label: bool = False,
    fps: float = 25.0,
    **streams: StreamEvidence,
) -> Explanation:
    contrast = best_contrast(scores, multi_label)
    return Explanation(names, multi_label, scores, contrast, streams, fps)


def texts(figure: Figure) -> list[str]:
    """Return every text of a figure, outside of its axes and in them."""
    inside = [text.get_text() for axes in figure.axes for text in axes.texts]
    return [*(text.get_text() for text in figure.texts), *inside]


def labels(figure: Figure) -> set[str]:
    return {axes.get_ylabel() for axes in figure.axes} - {""}


def draw(explanation: Explanation) -> Figure:
    return draw_prediction(explanation, "a.mp4", "by model 1")


def pixels(figure: Figure, path: Path) -> np.ndarray:
    write_picture(path, figure)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_title_and_bars_name_the_winner_and_the_runner_up() -> None:
    found = texts(draw(explain(rgb=seen([1]))))
    assert "a.mp4: dive 70%, runner-up: swim 26%" in found
    assert "by model 1" in found
    assert [text for text in found if text in NAMES] == ["dive", "swim", "climb", "walk"]


def test_the_lead_of_each_stream_is_told_apart() -> None:
    against = replace(flow_seen([1]), logits=LOGITS[::-1].copy())
    found = texts(draw(explain(rgb=seen([1]), flow=against)))
    assert "+1.0 logits for dive over swim" in found
    assert "-1.0 logits for dive over swim" in found
    assert found.index("RGB") < found.index("optical flow")


def test_five_of_many_classes_are_named() -> None:
    scores = np.arange(400, dtype=np.float32)
    names = tuple(f"c{index}" for index in range(400))
    figure = draw(explain(scores, names, rgb=replace(seen([1]), logits=scores)))
    named = [text for text in texts(figure) if text in names]
    assert named == ["c399", "c398", "c397", "c396", "c395"]


def test_a_class_that_excludes_no_other_has_no_runner_up() -> None:
    found = texts(draw(explain(multi_label=True, rgb=seen([1]))))
    assert "a.mp4: dive 95%" in found  # 1 / (1 + e^-3)
    assert {"for dive", "against dive", "+3.0 logits for dive"} <= set(found)


def test_the_frames_with_the_most_evidence_for_either_class_are_timed_in_their_order() -> None:
    by_frame = [0.1, 2.0, -1.0, 0.0, 3.0, 1.0, -1.5, 2.0]
    found = texts(draw(explain(rgb=seen(by_frame, [10 * place for place in range(8)]))))
    times = [text for text in found if text.endswith(" s")]
    assert times == ["0.40 s", "0.80 s", "1.60 s", "2.00 s", "2.40 s", "2.80 s"]
    assert len(times) == FRAMES_SHOWN


def test_a_short_video_shows_each_of_its_frames_once() -> None:
    found = texts(draw(explain(rgb=seen([1, 1, 1, 9], [0, 0, 0, 1]))))
    assert [text for text in found if text.endswith(" s")] == ["0.00 s", "0.04 s"]


def test_without_a_frame_rate_frames_are_numbered() -> None:
    found = texts(draw(explain(fps=0.0, rgb=seen([1, 3], [0, 4]))))
    assert [text for text in found if text.startswith("frame ")] == ["frame 1", "frame 5"]


def test_a_head_without_positions_gets_strips_and_says_so() -> None:
    spatial = draw(explain(rgb=seen([1, 2])))
    assert labels(spatial) == {"evidence,\nlogits"}  # all frames weigh alike
    assert not any(WHOLE_FRAMES in text for text in texts(spatial))
    assert "for dive" in texts(spatial)  # the scale of the map over positions
    figure = draw(explain(rgb=whole_frames(seen([1, 2]), [0.25, 0.75])))
    assert labels(figure) == {"attention", "evidence,\nlogits"}
    assert any(WHOLE_FRAMES in text for text in texts(figure))
    assert "for dive" not in texts(figure)
    [strip] = [axes for axes in figure.axes if axes.get_ylabel() == "attention"]
    assert [bar.get_height() for bar in strip.patches] == [0.25, 0.75]  # type: ignore[attr-defined]


def test_frames_that_are_looked_at_twice_are_no_attention() -> None:
    assert labels(draw(explain(rgb=seen([1, 1, 1], [0, 0, 1])))) == {"evidence,\nlogits"}


def test_evidence_is_red_for_the_winner_and_blue_for_the_runner_up(tmp_path: Path) -> None:
    evidence = seen([0, 0])
    evidence.evidence[0, :, :2], evidence.evidence[0, :, 2:] = 1, -1
    picture = pixels(draw(explain(rgb=evidence)), tmp_path / "a.png")
    green = (picture == GREEN).all(axis=2)
    rows, columns = (np.flatnonzero(green.any(axis=axis)) for axis in (1, 0))
    height, left = rows[-1] - rows[0], columns[0]
    below = picture[rows[-1] + height // 2]  # through the map, one row of pictures lower
    red, _, blue = below[left + height // 4]
    assert red > blue + 60
    red, _, blue = below[left + 3 * height // 4]
    assert blue > red + 60


def test_frames_keep_their_colours(tmp_path: Path) -> None:
    picture = pixels(draw(explain(rgb=seen([1]))), tmp_path / "a.png")
    green = (picture == GREEN).all(axis=2)
    rows, columns = (np.flatnonzero(green.any(axis=axis)) for axis in (1, 0))
    assert green[rows[0] + 1 : rows[-1], columns[0] + 1 : columns[-1]].all()


def test_flow_is_drawn_as_flow_with_its_wheel(tmp_path: Path) -> None:
    figure = draw(explain(flow=flow_seen([1])))
    assert "motion; rim: 4.0 px\nper frame" in texts(figure)
    picture = pixels(figure, tmp_path / "a.png")
    assert not (picture == GREEN).all(axis=2).any()
    to_the_right = (np.abs(picture - (255, 0, 0)).max(axis=2) < 10).sum()
    assert to_the_right > 100**2


@pytest.mark.parametrize(
    "name", ["costs $5 or $\\odd$", "游泳", "läuft weg", "العربية", "two\nlines", "W" * 300, ""]
)
@pytest.mark.parametrize("multi_label", [False, True])
def test_no_text_leaves_the_picture_whatever_a_class_is_called(
    tmp_path: Path, name: str, multi_label: bool
) -> None:
    names = ("a", name, name + "!", "b")
    figure = draw_prediction(
        explain(names=names, multi_label=multi_label, rgb=seen([1]), flow=flow_seen([2])),
        "W" * 300,
        "by " + "m" * 300,
    )
    write_picture(tmp_path / "a.png", figure)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    page = figure.bbox
    for text in (*figure.texts, *(text for axes in figure.axes for text in axes.texts)):
        with boxes_for_missing_glyphs():
            box = text.get_window_extent()
        assert box.x0 >= page.x0, text.get_text()
        assert box.x1 <= page.x1, text.get_text()


def test_text_that_fits_keeps_its_size() -> None:
    figure = draw(explain(flow=flow_seen([1])))
    sizes = {text.get_text().split()[0]: text.get_fontsize() for text in figure.texts}
    assert (sizes["motion;"], sizes["Shown:"]) == (9, 8)


@pytest.mark.parametrize("by_frame", [[0.0], [0.0, 0.0]])
def test_a_video_without_any_evidence_is_drawn(tmp_path: Path, by_frame: list[float]) -> None:
    write_picture(tmp_path / "a.png", draw(explain(rgb=seen(by_frame), flow=flow_seen(by_frame))))
    assert (tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.parametrize("suffix", [*FORMATS, ".PNG"])
def test_every_listed_format_is_written(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    check_format(path)
    write_picture(path, draw(explain(rgb=seen([1]))))
    assert path.stat().st_size > 1000


@pytest.mark.parametrize("name", ["a.gif", "a", "a.mp4"])
def test_another_format_is_refused_with_those_that_are_known(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{name}': end its name in \.png, \.jpg, .*\.pdf"):
        check_format(Path(name))
