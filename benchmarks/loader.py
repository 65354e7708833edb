"""Training clips from the loader: what they cost a core, and whether that grows with their number.

Each epoch's clips are also decoded alone, in turn: the rest is resizing, cropping, collating and
sending. Processor time is counted, which the load of others hardly changes.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import psutil
import typer

from benchmarks.material import files_of, make_videos
from benchmarks.measure import Setting, figure, report, run
from stpa.data.clips import ClipReader, TrainClips, stored_frames
from stpa.data.crops import CropSource
from stpa.data.loader import ClipLoader
from stpa.data.manifest import Video
from stpa.data.sampling import train_positions
from stpa.data.step_sampler import StepSampler
from stpa.data.storage import Folder
from stpa.streams import STREAMS
from stpa.terminal import TERMINAL

NUM_VIDEOS, SECONDS = 20, 8
CLIPS_AN_EPOCH = 200
BATCH_SIZE = 32
SHORT_SIDE, INPUT_SIZE = 256, 224
SCALES = (1.0, 0.875, 0.75, 0.66)
BOUND = 1.1


def main(
    clips: Annotated[int, typer.Option(min=2000, help="How many, over all epochs.")] = 10_000,
    num_segments: Annotated[int, typer.Option(min=1, help="K.")] = 3,
    stream: Annotated[Literal["rgb", "flow"], typer.Option()] = "rgb",
    crop_on_device: Annotated[bool, typer.Option(help="Pass whole frames on.")] = False,
) -> None:
    """Load clips by one process; compare the last tenth with the first, and with decoding alone."""
    with tempfile.TemporaryDirectory() as temporary:
        with TERMINAL.bar("generating videos") as progress:
            made = make_videos(Path(temporary), NUM_VIDEOS, SECONDS, stream, progress)
        videos = made * (CLIPS_AN_EPOCH // len(made))
        reader = ClipReader(STREAMS[stream], Folder(files_of(Path(temporary), stream)), SHORT_SIDE)
        loader = _make_loader(videos, reader, num_segments, crop_on_device)
        loading, decoding, held = [], [], []
        num_epochs = clips // len(videos)
        with TERMINAL.bar("loading") as progress:
            for epoch in range(num_epochs):
                loading.append(_load(loader, epoch) / len(videos))
                held.append(_held_mib())
                decoding.append(_decode(reader, videos, num_segments, epoch) / len(videos))
                progress(epoch + 1, num_epochs)
    tenth = num_epochs // 10
    # The first epoch also starts the process.
    first, last = slice(1, 1 + tenth), slice(num_epochs - tenth, num_epochs)
    growth = f"last {tenth * len(videos)} clips over first, of {clips}"
    report(
        "loader",
        [
            figure(f"time a clip, {growth}", loading[last], loading[first], bound=BOUND, unit="s"),
            figure(f"memory, {growth}", held[last], held[first], bound=BOUND, unit="MiB"),
            figure("loading over decoding alone", loading[1:], decoding[1:], bound=None, unit="s"),
        ],
        Setting("cpu", "float32"),
        clips_a_second_and_core=1 / float(np.median(loading[1:])),
        num_segments=num_segments,
        stream=stream,
        crop_on_device=crop_on_device,
    )


def _make_loader(
    videos: Sequence[Video], reader: ClipReader, num_segments: int, crop_later: bool
) -> ClipLoader:
    source = CropSource(reader, INPUT_SIZE, SCALES, horizontal_flip=True, crop_later=crop_later)
    drawn = TrainClips(videos, videos[0].labels, source, num_segments=num_segments, seed=0)
    return ClipLoader(
        drawn,
        batches=StepSampler(len(drawn), BATCH_SIZE, seed=0),
        num_processes=1,
        decode_seconds=60.0,
        pin_memory=False,
    )


def _load(loader: ClipLoader, epoch: int) -> float:
    """Return the processor time of an epoch's clips, in the loader's process and in this one."""
    assert isinstance(loader.clips, TrainClips)
    loader.clips.set_epoch(epoch)
    before = _processor_seconds()
    num_clips = sum(len(batch["index"]) for batch in loader)
    assert num_clips == len(loader.clips)
    return _processor_seconds() - before


def _decode(reader: ClipReader, videos: Sequence[Video], num_segments: int, epoch: int) -> float:
    """Return the processor time of decoding as many clips, at random positions too."""
    rng = np.random.default_rng(epoch)
    stored_side = videos[0].height if reader.stream.span == 1 else SHORT_SIDE
    alone = ClipReader(reader.stream, reader.storage, stored_side)  # not to be resized
    before = time.process_time()
    for video in videos:
        num_frames, span = stored_frames(video, reader.stream)
        alone.read(video, train_positions(num_frames, num_segments, span, rng))
    return time.process_time() - before


def _processor_seconds() -> float:
    return time.process_time() + sum(sum(each.cpu_times()[:2]) for each in _children())


def _held_mib() -> float:
    """Return the memory that this process and its children hold, without that of files, whose
    pages count for one process as soon as no other one uses them."""
    kib = 0
    for each in (psutil.Process(), *_children()):
        rollup = Path(f"/proc/{each.pid}/smaps_rollup").read_text(encoding="ascii")
        kib += sum(int(line.split()[1]) for line in rollup.splitlines() if "Anonymous:" in line)
    return kib / 1024


def _children() -> list[psutil.Process]:
    """Return the loader's process, the one it was forked from, and whoever clears up after them."""
    return psutil.Process().children(recursive=True)


if __name__ == "__main__":
    run(main)
