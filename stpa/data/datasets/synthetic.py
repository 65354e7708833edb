"""The generated dataset: encoded clips with known answers, laid out as UCF101's archives are.

    UCF-101/<Class>/v_<Class>_gNN_cNN.avi
    ucfTrainTestlist/{classInd,trainlist0K,testlist0K}.txt
    annotations.json    when and where the action and the distractor are, by the clip's path
    generated.json      what the clips were made from

How the clips keep each stream from telling the class: `stpa.data.datasets.synthetic_clip`.
"""

import itertools
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np

from stpa.config import DataConfig, SyntheticConfig
from stpa.data.datasets.base import ListedVideo
from stpa.data.datasets.synthetic_clip import (
    APPEARANCES,
    MOTIONS,
    ClipScript,
    write_script,
)
from stpa.data.datasets.synthetic_lists import (
    as_json,
    keep_or_write,
    write_annotations,
    write_lists,
)
from stpa.data.datasets.synthetic_scene import draw_clip
from stpa.data.datasets.ucf101 import Ucf101Dataset
from stpa.errors import ConfigError, DataError
from stpa.files import atomic_path, is_temporary
from stpa.progress import ReportProgress
from stpa.shapes import UInt8

_RECIPE = 1  # raise when equal settings give other clips than before
# Values that were fixed before they were settings: a stamp leaves them out, as it did then.
_ONCE_FIXED = {
    "action_share": [0.7, 0.85],
    "actor_radius": [0.18, 0.21],
    "home": "centre",
    "distractor": "none",
    "clutter": "still",
}
_FRAMES_PER_SECOND = 25
# Of MPEG-4's quantisers, 1 to 31, so fine a one that no frame shows traces of the motion.
_ENCODING = {"qmin": "3", "qmax": "3", "g": "12", "flags": "+bitexact"}


class SyntheticDataset:
    """Makes its videos itself, and is read as UCF101 is."""

    def prepare(
        self,
        destination: Path,
        source: Path | None,
        config: DataConfig,
        progress: ReportProgress,
    ) -> None:
        """Generate what is missing below `destination`.

        Killed and run again, it goes on where it stopped; other settings start afresh.
        """
        if source is not None:
            raise DataError(f"generated clips take no source, but {source} came: leave it out")
        settings = _settings(config)
        destination.mkdir(parents=True, exist_ok=True)
        _discard_other_clips(destination, settings)
        scripts = _write_scripts(settings)
        write_lists(destination / "ucfTrainTestlist", scripts, settings.num_groups)
        write_annotations(destination / "annotations.json", scripts, settings.size_px)
        missing = [path for path in scripts if not (destination / path).is_file()]

        def make(path: str) -> None:
            frames = draw_clip(scripts[path], settings)
            _encode(destination / path, frames)

        # Threads: drawing and encoding spend their time in libraries that release the GIL.
        with ThreadPoolExecutor() as pool:
            for done, _ in enumerate(pool.map(make, missing), start=1):
                progress(len(scripts) - len(missing) + done, len(scripts))

    def list_videos(self, root: Path, config: DataConfig) -> list[ListedVideo]:
        """List the clips by UCF101's own rules."""
        return Ucf101Dataset().list_videos(root, config)


def _settings(config: DataConfig) -> SyntheticConfig:
    settings = config.synthetic
    if settings is None:
        raise ConfigError("dataset synthetic needs data.synthetic, which is null: set its keys")
    if settings.size_px % 2:
        raise ConfigError(f"data.synthetic.size_px {settings.size_px} must be even, to be encoded")
    return settings


def _discard_other_clips(destination: Path, settings: SyntheticConfig) -> None:
    """Leave in `destination` only what these settings made, or raise if a person's files are there.

    The stamp is written before the first clip and after the last old one is gone: at any
    instant, every clip present was made from the settings on the stamp.
    """
    stamp = destination / "generated.json"
    stated = {
        key: value for key, value in settings.model_dump().items() if _ONCE_FIXED.get(key) != value
    }
    wanted = as_json({"recipe": _RECIPE, **stated})
    if not stamp.is_file():
        if any(not is_temporary(path) for path in destination.iterdir()):
            raise DataError(
                f"{destination} should be empty or hold generated clips, but holds other files: "
                "take another workspace for generated clips"
            )
    elif stamp.read_text(encoding="utf-8") != wanted and (destination / "UCF-101").exists():
        shutil.rmtree(destination / "UCF-101")
    keep_or_write(stamp, wanted)
    for path in [path for path in destination.rglob("*") if is_temporary(path)]:
        path.unlink()


def _write_scripts(settings: SyntheticConfig) -> dict[str, ClipScript]:
    """Script every clip, keyed by its path, in UCF101's order."""
    scripts = {}
    for appearance, motion, group, clip in itertools.product(
        APPEARANCES,
        MOTIONS,
        range(1, settings.num_groups + 1),
        range(1, settings.clips_per_group + 1),
    ):
        script = write_script(settings, appearance, motion, group, clip)
        label = script.label
        scripts[f"UCF-101/{label}/v_{label}_g{group:02}_c{clip:02}.avi"] = script
    return scripts


def _encode(path: Path, frames: UInt8[np.ndarray, "time h w 3"]) -> None:
    """Write MPEG-4 in AVI, as UCF101's clips are; equal frames give equal bytes."""
    height, width = frames.shape[1:3]
    exact = {"fflags": "+bitexact"}  # no mark of the library's version
    with (
        atomic_path(path) as temporary,
        av.open(str(temporary), "w", container_options=exact) as container,
    ):
        stream = container.add_stream("mpeg4", rate=_FRAMES_PER_SECOND, options=_ENCODING)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.codec_tag = "XVID"
        stream.codec_context.thread_count = 1
        for planes in frames.transpose(0, 3, 1, 2):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(planes), format="yuv444p")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
