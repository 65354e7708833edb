"""What transcoding at ingest (`data.transcode`) saves when clips are read, and what it costs once.

The original is as from a phone or a download: 640 x 480, H.264, a key frame every 250 frames. Clips
are read as training reads them, at random positions and with the short side resized to 256 px.
"""

import tempfile
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from benchmarks.material import FRAMES_PER_SECOND, add_grain, draw_frames, encode
from benchmarks.measure import RepeatsOption, Setting, compare, report, run
from stpa.config import TranscodeConfig
from stpa.data import transforms
from stpa.data.decode import read_frames
from stpa.data.sampling import train_positions
from stpa.data.transcode import transcode
from stpa.shapes import Int
from stpa.terminal import TERMINAL

WIDTH, HEIGHT, SECONDS, BIT_RATE = 640, 480, 12, 1_500_000
CONFIG = TranscodeConfig(short_side=256, gop=12, quality=18)
CLIPS = 8


def main(repeats: RepeatsOption = 5) -> None:
    """Time clips of a transcoded video over the same clips of its original."""
    cv2.setNumThreads(1)
    setting = Setting("cpu", "float32")
    num_frames = SECONDS * FRAMES_PER_SECOND
    rng = np.random.default_rng(0)
    figures = []
    with tempfile.TemporaryDirectory() as temporary:
        original, copy = Path(temporary) / "original.mp4", Path(temporary) / "copy.mp4"
        frames = add_grain(draw_frames(0, num_frames, WIDTH, HEIGHT))
        encode(original, frames, codec="libx264", gop=250, bit_rate=BIT_RATE)
        started = time.perf_counter()
        transcode(original, copy, CONFIG)
        seconds = time.perf_counter() - started
        for k in (3, 25):
            drawn = [train_positions(num_frames, k, 1, rng) for _ in range(CLIPS)]
            with TERMINAL.bar(f"K = {k}") as progress:
                figures += compare(
                    f"{CLIPS} clips, K = {k}",
                    partial(_read_clips, copy, drawn),
                    partial(_read_clips, original, drawn),
                    bound=None,
                    repeats=repeats,
                    setting=setting,
                    progress=progress,
                )
        bytes_ratio = copy.stat().st_size / original.stat().st_size
    report(
        "transcode",
        figures,
        setting,
        config=CONFIG.model_dump(),
        frames_transcoded_per_second=num_frames / seconds,
        bytes_over_original=bytes_ratio,
        repeats=repeats,
    )


def _read_clips(path: Path, drawn: list[Int[np.ndarray, " time"]]) -> None:
    for positions in drawn:
        clip = np.ascontiguousarray(read_frames(path, positions).transpose(0, 3, 1, 2))
        transforms.resize_short_side(clip, CONFIG.short_side)


if __name__ == "__main__":
    run(main)
