"""Clips a second of our reader and of decord, PyAV and OpenCV alone, each at its best.

Every reader opens a video for each clip and decodes in one thread, as a loader process does, and
all read the same clips, in turn. Each first reads clips whose frames are known: one that returns
other frames is shown, but is no peer to compare with.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated

import av
import cv2
import decord
import numpy as np
import typer
from einops import rearrange
from rich.table import Table

from benchmarks.material import (
    BIT_RATE,
    FRAMES_PER_SECOND,
    add_grain,
    draw_frames,
    encode,
    files_of,
    make_videos,
)
from benchmarks.measure import Setting, print_record, run, time_of
from stpa.data.decode import read_flow_stacks, read_frames
from stpa.data.sampling import train_positions
from stpa.data.video_file import decode_video
from stpa.progress import ReportProgress
from stpa.shapes import Int, UInt8
from stpa.streams import STACK_LENGTH
from stpa.terminal import TERMINAL

VALUES_OF_K = (3, 25)
SECONDS = 10
CODECS = {"MPEG-4": ("mpeg4", ".avi"), "H.264": ("libx264", ".mp4")}
GOPS = (12, 250)
MOST_DIFFERENCE = 3
"""Levels of 255 by which readers may differ that round in other places."""
GOAL = 1.0
OURS = "ours"

Images = UInt8[np.ndarray, "time height width *channels"]
Places = Int[np.ndarray, " time"]
Convert = Callable[[av.VideoFrame], UInt8[np.ndarray, "..."]]
Reader = Callable[[Path, Places], Images]
"""Reads the stacks of images, of one each for RGB, that start at some places, which ascend."""


@dataclass(frozen=True)
class Cell:
    """What came of one kind of video and one K."""

    name: str
    clips_per_second: Mapping[str, float]
    inexact: Sequence[str]
    """Readers that returned other frames."""
    best_peer: str
    ratio: float
    """Our clips a second over those of the best peer: the median of rounds."""


def main(
    clips: Annotated[int, typer.Option(min=1, help="Read by each reader in a turn.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each reader.")] = 9,
) -> None:
    """Measure RGB at two codecs and two distances of key frames, and stored optical flow."""
    cv2.setNumThreads(1)
    decord.logging.set_level(decord.logging.QUIET)
    cells = []
    with tempfile.TemporaryDirectory() as temporary:
        with TERMINAL.bar("generating videos") as progress:
            videos, flow = _make_files(Path(temporary), progress)
        kinds = [(name, path, _rgb_readers(), 1) for name, path in videos.items()]
        kinds.append(("stored flow", flow, _flow_readers(), STACK_LENGTH))
        for name, path, readers, span in kinds:
            frames = _read_all(path, span)
            for k in VALUES_OF_K:
                rng = np.random.default_rng(0)
                drawn = [train_positions(len(frames), k, span, rng) for _ in range(clips * rounds)]
                with TERMINAL.bar(f"{name}, K = {k}") as progress:
                    times = _take_turns(path, readers, drawn, rounds, progress)
                exact = [
                    each
                    for each, read in readers.items()
                    if _is_exact(read, path, frames, drawn[:4], span)
                ]
                cells.append(_compare(f"{name}, K = {k}", times, exact, clips))
    _show(cells)
    print_record(
        "decode",
        Setting("cpu", "float32"),
        ratio=min(cell.ratio for cell in cells),
        bound=GOAL,
        cells=[asdict(cell) for cell in cells],
        clips=clips,
        rounds=rounds,
        versions={module.__name__: module.__version__ for module in (av, cv2, decord)},
    )


def _make_files(folder: Path, progress: ReportProgress) -> tuple[dict[str, Path], Path]:
    """Write RGB videos, by their names, and one stored optical flow."""
    [video] = make_videos(folder, 1, SECONDS, "flow", progress)
    frames = add_grain(draw_frames(0, SECONDS * FRAMES_PER_SECOND))
    videos = {}
    for name, (codec, suffix) in CODECS.items():
        for gop in GOPS:
            path = folder / f"{codec}{gop}{suffix}"
            encode(path, frames, codec=codec, gop=gop, bit_rate=BIT_RATE)
            videos[f"{name}, GOP {gop}"] = path
    return videos, files_of(folder, "flow") / f"{video.video_id}.avi"


def _read_all(path: Path, span: int) -> Images:
    if span == 1:
        return np.stack(
            [frame.to_ndarray(format="rgb24", threads=1) for frame in decode_video(path)]
        )
    return np.stack([_luma(frame) for frame in decode_video(path)])


def _take_turns(
    path: Path,
    readers: Mapping[str, Reader],
    drawn: Sequence[Places],
    rounds: int,
    progress: ReportProgress,
) -> dict[str, list[float]]:
    """Return each reader's seconds in each round, where all read the same clips."""
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    names = list(readers)
    clips = len(drawn) // rounds
    for turn in range(rounds):
        starts = drawn[turn * clips : (turn + 1) * clips]
        first = turn % len(names)
        for name in names[first:] + names[:first]:  # none always follows the same one
            work = partial(_read_clips, readers[name], path, starts)
            seconds[name].append(time_of(work, Setting("cpu", "float32")).wall)
        progress(turn + 1, rounds)
    return seconds


def _compare(
    name: str, seconds: Mapping[str, Sequence[float]], exact: Sequence[str], clips: int
) -> Cell:
    medians = {each: float(np.median(times)) for each, times in seconds.items()}
    best = min((each for each in exact if each != OURS), key=medians.__getitem__)
    return Cell(
        name=name,
        clips_per_second={each: clips / median for each, median in medians.items()},
        inexact=sorted(seconds.keys() - set(exact)),
        best_peer=best,
        ratio=float(np.median(np.divide(seconds[best], seconds[OURS]))),
    )


def _read_clips(reader: Reader, path: Path, drawn: Sequence[Places]) -> None:
    for starts in drawn:
        reader(path, starts)


def _is_exact(
    reader: Reader, path: Path, frames: Images, drawn: Sequence[Places], span: int
) -> bool:
    return all(
        np.abs(reader(path, starts).astype(int) - frames[_all_of(starts, span)]).max()
        <= MOST_DIFFERENCE
        for starts in drawn
    )


def _all_of(starts: Places, span: int) -> Places:
    return (starts[:, None] + np.arange(span)).ravel()


def _show(cells: Sequence[Cell]) -> None:
    names = list(cells[0].clips_per_second)
    table = Table("clips/s", *names, "ours over the best", title="decode (*: other frames)")
    for cell in cells:
        rates = []
        for name in names:
            rate = cell.clips_per_second.get(name)
            mark = "*" if name in cell.inexact else ""
            rates.append("" if rate is None else f"{rate:.1f}{mark}")
        colour = "green" if cell.ratio >= GOAL else "red"
        table.add_row(cell.name, *rates, f"[{colour}]{cell.ratio:.3f}[/]")
    TERMINAL.console.print(table)


def _rgb_readers() -> dict[str, Reader]:
    return {
        OURS: read_frames,
        "decord": _decord,
        "PyAV, in order": partial(_pyav_in_order, convert=_rgb, span=1),
        "PyAV, seeking": partial(_pyav_seeking, convert=_rgb, span=1),
        "OpenCV, in order": partial(_opencv_in_order, colour=cv2.COLOR_BGR2RGB, span=1),
        "OpenCV, seeking": partial(_opencv_seeking, colour=cv2.COLOR_BGR2RGB, span=1),
    }


def _flow_readers() -> dict[str, Reader]:
    """Return readers of x above y."""
    gray, span = cv2.COLOR_BGR2GRAY, STACK_LENGTH
    return {
        OURS: _our_flow,
        "decord": lambda path, starts: _decord(path, _all_of(starts, span))[..., 0],
        "PyAV, in order": partial(_pyav_in_order, convert=_luma, span=span),
        "PyAV, seeking": partial(_pyav_seeking, convert=_luma, span=span),
        "OpenCV, in order": partial(_opencv_in_order, colour=gray, span=span),
        "OpenCV, seeking": partial(_opencv_seeking, colour=gray, span=span),
    }


def _our_flow(path: Path, starts: Places) -> Images:
    stacks = read_flow_stacks(path, starts, STACK_LENGTH)
    return rearrange(stacks, "k (span xy) height width -> (k span) (xy height) width", xy=2)


def _decord(path: Path, places: Places) -> Images:
    return decord.VideoReader(str(path), num_threads=1).get_batch(places).asnumpy()


def _pyav_in_order(path: Path, starts: Places, convert: Convert, span: int) -> Images:
    wanted = _all_of(starts, span).tolist()
    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        frames = enumerate(islice(container.decode(video=0), wanted[-1] + 1))
        images = {place: convert(frame) for place, frame in frames if place in wanted}
    return np.stack([images[place] for place in wanted])


def _pyav_seeking(path: Path, starts: Places, convert: Convert, span: int) -> Images:
    """Seek each stack by the timestamp that its start has at an even frame rate."""
    images = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        assert stream.average_rate
        assert stream.time_base
        step = 1 / (stream.average_rate * stream.time_base)
        for start in starts.tolist():
            timestamp = (stream.start_time or 0) + round(start * step)
            container.seek(timestamp, stream=stream)
            found = (frame for frame in container.decode(stream) if frame.pts >= timestamp)
            images += [convert(frame) for frame in islice(found, span)]
    return np.stack(images)


def _opencv_in_order(path: Path, starts: Places, colour: int, span: int) -> Images:
    wanted = _all_of(starts, span).tolist()
    capture = _open_capture(path)
    images = {}
    for place in range(wanted[-1] + 1):
        capture.grab()
        if place in wanted:
            images[place] = cv2.cvtColor(capture.retrieve()[1], colour)
    return np.stack([images[place] for place in wanted])


def _opencv_seeking(path: Path, starts: Places, colour: int, span: int) -> Images:
    capture = _open_capture(path)
    images = []
    for start in starts.tolist():
        capture.set(cv2.CAP_PROP_POS_FRAMES, start)
        images += [cv2.cvtColor(capture.read()[1], colour) for _ in range(span)]
    return np.stack(images)


def _open_capture(path: Path) -> cv2.VideoCapture:
    return cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])


def _rgb(frame: av.VideoFrame) -> UInt8[np.ndarray, "height width 3"]:
    return frame.to_ndarray(format="rgb24", threads=1)


def _luma(frame: av.VideoFrame) -> UInt8[np.ndarray, "height width"]:
    return frame.to_ndarray()[: frame.height]


if __name__ == "__main__":
    run(main)
