"""Pictures and films of attention: their texts, and their pixels, read back from the files."""

from dataclasses import replace

import av
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from stpa.evaluation.explain import Explanation, StreamEvidence, best_contrast, unlike_maps
from stpa.evaluation.picture import (
    FRAMES_SHOWN,
    WHOLE_FRAMES,
    draw_attention,
    draw_film,
    write_film,
    write_picture,
)
from stpa.evaluation.picture.attention_panel import over_largest

SIZE = 64
GREEN = (0, 160, 0)
LOGITS = np.array([0.0, 3.0, 2.0], np.float32)


def peaks(num_frames: int, *places: tuple[int, int, int]) -> np.ndarray:
    """Make a map of 4 x 4 positions for each place: frame, row, column, where it is all."""
    attention = np.zeros((num_frames, len(places), 4, 4))
    for index, (frame, row, column) in enumerate(places):
        attention[frame, index, row, column] = 1
    return attention


def seen(attention: np.ndarray, indices: list[int] | None = None) -> StreamEvidence:
    num_frames = len(attention)
    return StreamEvidence(
        frames=np.full((num_frames, SIZE, SIZE, 3), GREEN, np.uint8),
        flow=None,
        indices=np.arange(num_frames) if indices is None else np.array(indices),
        evidence=np.zeros((num_frames, *attention.shape[2:])),
        frame_weights=attention.sum(axis=(2, 3)).mean(axis=1),
        logits=LOGITS,
        attention=attention,
    )


def moving(stream: StreamEvidence) -> StreamEvidence:
    flow = np.zeros((len(stream.frames), 2, SIZE, SIZE), np.float32)
    flow[:, 0] = 4
    return replace(stream, flow=flow)


def explain(*, fps: float = 25.0, **streams: StreamEvidence) -> Explanation:
    contrast = best_contrast(LOGITS, multi_label=False)
    return Explanation(("climb", "dive", "swim"), False, LOGITS, contrast, streams, fps)


def texts(figure: Figure) -> list[str]:
    inside = [text.get_text() for axes in figure.axes for text in axes.texts]
    return [*(text.get_text() for text in figure.texts), *inside]


def draw(explanation: Explanation, num_maps: int = 2) -> Figure:
    return draw_attention(explanation, "a.mp4", "by model 1", num_maps)


class TestChoice:
    def test_a_typical_map_comes_first_and_then_the_least_alike(self):
        attention = np.zeros((1, 4, 1, 4))
        attention[0, :, 0] = [
            [0.9, 0.1, 0, 0],
            [1.0, 0.0, 0, 0],
            [0.8, 0.2, 0, 0],
            [0.0, 0.0, 0, 1],
        ]
        assert unlike_maps(attention, 2).tolist() == [0, 3]
        assert unlike_maps(attention, 3).tolist()[:2] == [0, 3]

    def test_no_map_is_chosen_twice_where_all_are_the_same(self):
        attention = np.full((2, 3, 2, 2), 1 / 8)
        assert sorted(unlike_maps(attention, 9).tolist()) == [0, 1, 2]

    def test_each_frame_is_over_its_own_largest_weight(self):
        maps = np.array([[[1.0, 2.0]], [[10.0, 40.0]], [[0.0, 0.0]]])
        assert over_largest(maps).tolist() == [[[0.5, 1.0]], [[0.25, 1.0]], [[0.0, 0.0]]]


class TestPicture:
    def test_it_names_the_video_the_answer_and_the_maps_that_are_drawn(self):
        attention = peaks(2, (0, 0, 0), (0, 0, 0), (1, 3, 3))
        found = texts(draw(explain(rgb=seen(attention))))
        assert {"a.mp4: dive", "by model 1", "all 3 maps", "map 1", "map 3"} <= set(found)
        assert "map 2" not in found

    def test_the_heading_counts_the_positions_that_a_map_weighs(self):
        attention = np.zeros((2, 1, 4, 4))
        attention[0, 0, 0], attention[1, 0, 1] = 1 / 8, 1 / 8
        [heading] = [text for text in texts(draw(explain(rgb=seen(attention)))) if "weighs" in text]
        assert heading == "a map weighs 8 of 32 positions, 2 frames of 4 x 4"

    def test_a_frame_that_was_looked_at_twice_has_all_its_weight(self):
        attention = np.full((4, 1, 1, 1), 0.25)
        panel = texts(draw(explain(rgb=seen(attention, [0, 0, 0, 1])), 0))
        assert [text for text in panel if text.endswith(" s")] == ["0.00 s", "0.04 s"]
        distinct = seen(attention, [0, 0, 0, 1]).distinct()
        assert distinct.attention is not None
        assert distinct.attention.ravel().tolist() == [0.75, 0.25]

    def test_the_frames_with_the_most_attention_are_shown_in_their_order(self):
        attention = np.zeros((8, 1, 4, 4))
        attention[:, 0, 0, 0] = np.array([1, 5, 4, 0, 9, 3, 2, 6]) / 30
        found = texts(draw(explain(rgb=seen(attention, [10 * place for place in range(8)]))))
        times = [text for text in found if text.endswith(" s")]
        assert times == ["0.40 s", "0.80 s", "1.60 s", "2.00 s", "2.40 s", "2.80 s"]
        assert len(times) == FRAMES_SHOWN

    def test_the_position_with_the_largest_weight_is_the_lightest(self, tmp_path):
        figure = draw(explain(rgb=seen(peaks(1, (0, 0, 3)))), num_maps=0)
        write_picture(tmp_path / "a.png", figure)
        picture = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).astype(int)
        rows, columns = (
            np.flatnonzero((picture == GREEN).all(axis=2).any(axis=axis)) for axis in (1, 0)
        )
        side = rows[-1] - rows[0]
        # The row of the maps is right below; its corners are at an eighth and seven eighths.
        top, left = rows[-1] + side // 4, columns[0]
        light, dark = picture[top, left + 7 * side // 8], picture[top, left + side // 8]
        assert light.sum() > dark.sum() + 200

    def test_a_head_that_weighs_whole_frames_gets_no_maps_and_says_so(self):
        attention = np.array([0.25, 0.75]).reshape(2, 1, 1, 1)
        found = texts(draw(explain(rgb=seen(attention))))
        assert f"a map weighs 2 of 2 positions; {WHOLE_FRAMES}" in found
        assert "all 1 maps" not in found

    @pytest.mark.parametrize("name", ["游泳" * 30, "W" * 300, "$5 \\odd", "two\nlines"])
    def test_no_text_leaves_the_picture(self, name):
        stream = seen(peaks(9, (0, 0, 0), (8, 1, 1)))
        figure = draw_attention(
            explain(rgb=stream, flow=moving(stream)), name, "by " + "m" * 300, 2
        )
        for text in figure.texts:
            box = text.get_window_extent()
            assert box.x0 >= figure.bbox.x0, text.get_text()
            assert box.x1 <= figure.bbox.x1, text.get_text()


class TestFilm:
    def test_each_frame_of_either_network_is_shown_from_its_time_on(self, tmp_path):
        rgb = seen(np.full((3, 1, 4, 4), 1 / 48), [0, 25, 50])
        flow = moving(seen(np.full((2, 1, 4, 4), 1 / 32), [5, 45]))
        pictures = list(draw_film(explain(rgb=rgb, flow=flow), "a.mp4"))
        # Borders lie halfway between frames, and as far before the first one and behind the last.
        expected = np.array([-15, -12.5, 12.5, 25, 37.5, 62.5, 65]) + 15
        assert [milliseconds for milliseconds, _ in pictures] == (expected * 40).tolist()
        write_film(tmp_path / "a.mp4", pictures)
        with av.open(str(tmp_path / "a.mp4")) as container:
            frames = list(container.decode(video=0))
        assert [frame.time for frame in frames] == pytest.approx(expected / 25, abs=1e-3)
        height, width = pictures[0][1].shape[:2]
        assert (frames[0].height, frames[0].width) == (height // 2 * 2, width // 2 * 2)
        third = frames[2].to_ndarray(format="rgb24").astype(int)
        assert np.abs(third - pictures[2][1][: len(third), : third.shape[1]]).mean() < 3

    def test_frames_at_uneven_distances_keep_their_times(self, tmp_path):
        places = np.linspace(0, 39, 25).astype(int).tolist()
        rgb = seen(np.full((25, 1, 4, 4), 1 / 400), places)
        flow = moving(replace(rgb, indices=np.linspace(2, 36, 25).astype(int)))
        pictures = list(draw_film(explain(rgb=rgb, flow=flow), "a.mp4"))
        write_film(tmp_path / "a.mp4", pictures)
        with av.open(str(tmp_path / "a.mp4")) as container:
            times = [frame.time for frame in container.decode(video=0)]
        assert times == pytest.approx([milliseconds / 1000 for milliseconds, _ in pictures])

    @pytest.mark.parametrize("fps", [24.0, 30000 / 1001, 30.0])
    def test_each_frame_that_was_seen_is_shown(self, fps):
        places = np.linspace(0, 149, 25).astype(int)
        stream = seen(np.full((25, 1, 4, 4), 1 / 400), places.tolist())
        for frame, level in enumerate(np.linspace(0, 240, 25).astype(int)):
            stream.frames[frame] = level
        pictures = list(draw_film(explain(fps=fps, rgb=stream), "a.mp4"))
        height, width = 150, 200  # within the picture that the network saw
        shown = [int(picture[height, width, 0]) for _, picture in pictures[:-1]]
        assert shown == np.linspace(0, 240, 25).astype(int).tolist()

    def test_frames_at_nearly_the_same_time_are_one_picture(self, tmp_path):
        rgb = seen(np.full((3, 1, 4, 4), 1 / 48), [0, 1, 2])
        flow = moving(seen(np.full((4, 1, 4, 4), 1 / 64), [0, 1, 2, 4]))
        write_film(tmp_path / "a.mp4", draw_film(explain(fps=3000.3, rgb=rgb, flow=flow), "a.mp4"))
        with av.open(str(tmp_path / "a.mp4")) as container:
            times = [frame.time for frame in container.decode(video=0)]
        assert len(times) == len(set(times)) == 3

    def test_the_light_moves_to_where_the_network_looks(self):
        attention = peaks(2, (0, 0, 0), (1, 3, 3))
        (_, first), (_, second), _ = draw_film(explain(rgb=seen(attention)), "a.mp4")
        panes = slice(0, 400)  # the cursor below moves, too
        lighter = first[panes].astype(int).sum(axis=2) - second[panes].astype(int).sum(axis=2)
        rows, columns = np.nonzero(lighter > 200)
        below, right = np.nonzero(lighter < -200)
        assert rows.max() < below.min()
        assert columns.max() < right.min()

    def test_progress_counts_the_pictures(self):
        told: list[tuple[int, int]] = []
        film = draw_film(
            explain(rgb=seen(peaks(3, (0, 0, 0)))), "a.mp4", lambda *done: told.append(done[:2])
        )
        assert len(list(film)) == 4
        assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]

    @pytest.mark.parametrize("fps", [0.0, 25.0])
    def test_a_video_of_one_frame_is_a_film(self, tmp_path, fps):
        film = draw_film(explain(fps=fps, rgb=seen(peaks(1, (0, 0, 0)))), "a.mp4")
        write_film(tmp_path / "a.mp4", film)
        with av.open(str(tmp_path / "a.mp4")) as container:
            assert len(list(container.decode(video=0))) == 2

    def test_nothing_is_left_of_a_film_that_breaks_off(self, tmp_path):
        def broken():
            yield from draw_film(explain(rgb=seen(peaks(1, (0, 0, 0)))), "a.mp4")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_film(tmp_path / "a.mp4", broken())
        assert list(tmp_path.iterdir()) == []
