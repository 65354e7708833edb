"""The film of attention: the pictures that the networks saw, where they look, and when."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from stpa.evaluation.explain import Explanation
from stpa.evaluation.fusion import STREAM_TITLES
from stpa.evaluation.lettering import boxes_for_missing_glyphs, shorten
from stpa.evaluation.picture.attention_panel import COLOURS, draw_legend, over_largest
from stpa.evaluation.picture.flow_colours import colour_flow
from stpa.evaluation.picture.page import Page, styled
from stpa.evaluation.picture.stream_panel import (
    FRAME,
    GAP,
    GRAYS,
    LEGEND_LEFT,
    OPACITY,
    PANEL_WIDTH,
    STRIP,
    TIME_AXIS,
    Row,
    StreamPanel,
    draw_panels,
    draw_wheel,
)
from stpa.files import atomic_path
from stpa.progress import ReportProgress, silent
from stpa.shapes import Float, UInt8

# In inches.
_LEFT, _TITLE_HEIGHT, _PANE = 1.25, 0.5, 3.0

_MILLISECOND = Fraction(1, 1000)
_DEFAULT_FPS = 25.0
"""Of a video whose container does not say."""

TimedPicture = tuple[int, UInt8[np.ndarray, "height width 3"]]
"""From when on it is shown, in ms, and the picture."""


def draw_film(
    explanation: Explanation, name: str, progress: ReportProgress = silent
) -> Iterator[TimedPicture]:
    """Yield a picture for each time at which a network saw another frame, and the last one again.

    The heads of all streams have maps. Beside what each network saw are the weights of all its
    maps together, over the largest one of the frame; below is how much each frame weighs.
    """
    panels = [
        _FilmPanel(stream, explanation) for stream in STREAM_TITLES if stream in explanation.streams
    ]
    edges = np.concatenate([panel.edges() for panel in panels])
    millisecond = (1.0 if explanation.fps else _DEFAULT_FPS) / 1000  # in the unit of `edges`
    times = np.unique(np.rint(edges / millisecond).astype(int))  # one picture a millisecond at most
    title = f"{shorten(name, 60)}: {shorten(explanation.winner, 40)}"
    height = _TITLE_HEIGHT + sum(panel.height for panel in panels)
    with styled(title), boxes_for_missing_glyphs():
        page = Page(_LEFT + PANEL_WIDTH, height)
        page.write(_LEFT, 0.12, title, size=14, weight="bold")
        draw_panels(page, _LEFT, _TITLE_HEIGHT, panels)
        canvas = FigureCanvasAgg(page.figure)
        for done, time in enumerate(times.tolist(), start=1):
            for panel in panels:
                panel.show(time, millisecond)
            canvas.draw()
            yield time - int(times[0]), np.array(canvas.buffer_rgba())[..., :3]
            progress(done, len(times))


def write_film(path: Path, pictures: Iterable[TimedPicture]) -> None:
    """Write pictures, atomically, as H.264 in MP4, each from its time on."""
    import av  # slow to import
    from av.video.stream import VideoStream

    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=1000)
        assert isinstance(stream, VideoStream)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = _MILLISECOND
        for place, (milliseconds, picture) in enumerate(pictures):
            height, width = (side // 2 * 2 for side in picture.shape[:2])  # even, as colours need
            if place == 0:
                stream.height, stream.width = height, width
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]))
            frame.pts, frame.time_base = milliseconds, _MILLISECOND
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


class _FilmPanel(StreamPanel):
    """One stream, as it is at one time."""

    def __init__(self, stream: str, explanation: Explanation) -> None:
        super().__init__(stream, explanation)
        assert self.seen.attention is not None, "a head without maps has no film"
        self._weights = over_largest(self.seen.attention.mean(axis=1))
        self._coloured = None if self.seen.flow is None else colour_flow(self.seen.flow)

    def strength(self) -> Float[np.ndarray, " time"]:
        return self.seen.frame_weights

    def rows(self) -> list[Row]:
        return [
            self.heading_row("what the network sees, and where it looks"),
            (_PANE + GAP, self._draw_panes),
            (STRIP + TIME_AXIS, self._draw_weights_and_time),
        ]

    def show(self, time: int, millisecond: float) -> None:
        """Show the frame that stands for a time, in ms; a millisecond is in the unit of `times`."""
        starts = np.rint(self.edges() / millisecond)
        frame = np.clip(np.searchsorted(starts, time, "right") - 1, 0, len(self.times) - 1)
        pictures = self.seen.frames if self._coloured is None else self._coloured.pictures
        self._picture.set_data(pictures[frame])
        self._gray.set_data(self.seen.frames[frame].mean(axis=2))
        self._colours.set_data(COLOURS.to_rgba(self._weights[frame], alpha=OPACITY))
        self._cursor.set_xdata([self.times[frame]] * 2)

    def _draw_weights_and_time(self, page: Page, left: float, top: float) -> None:
        self._cursor = self.draw_weights(page, left, top).axvline(self.times[0], color="black")

    def _draw_panes(self, page: Page, left: float, top: float) -> None:
        right = left + _PANE + 2 * GAP
        whole = (0.0, _PANE, 0.0, _PANE)
        blank = np.zeros_like(self.seen.frames[0])
        self._picture = page.canvas(left, top, _PANE, _PANE).imshow(blank, extent=whole)
        looked_at = page.canvas(right, top, _PANE, _PANE)
        self._gray = looked_at.imshow(blank[..., 0], extent=whole, **GRAYS)
        self._colours = looked_at.imshow(blank, extent=whole)
        draw_legend("all maps", page, left + LEGEND_LEFT, top)
        if self._coloured is not None:
            draw_wheel(page, left + LEGEND_LEFT, top + _PANE - FRAME, self._coloured)
