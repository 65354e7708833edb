"""What a pretrained backbone makes of a video's frames, for heads to train on and be judged by."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from stpa.data.clips import ClipReader
from stpa.data.crops import CropSource
from stpa.data.keyed_random import keyed_generator
from stpa.data.manifest import Video
from stpa.data.storage import Storage
from stpa.data.transforms import Clip, centre_crop
from stpa.errors import ModelError
from stpa.evaluation.k_sweep import FRAMES_AT_ONCE, Sweep
from stpa.models.network import ActionNetwork
from stpa.shapes import Float16, Int, UInt8


@dataclass(frozen=True)
class Views:
    """The crops of each frame of a video: the centre, then random ones."""

    number: int
    """How many, the centre included."""
    scales: tuple[float, ...]
    """As in `CropSource`."""
    horizontal_flip: bool
    """As in `CropSource`."""
    seed: int

    def crops(
        self, clip: Clip, video: Video, source: CropSource
    ) -> list[UInt8[np.ndarray, "time channels height width"]]:
        """Return a clip of `video` in each view: the same crop, whichever frames it is of."""
        crops = [centre_crop(clip, source.input_size)]
        for view in range(1, self.number):
            rng = keyed_generator(self.seed, view, video.video_id)
            crops.append(source.crop(clip, *source.draw_crop(clip, rng)))
        return crops


CENTRE = Views(1, (1.0,), horizontal_flip=False, seed=0)
"""The centre crop alone: nothing is drawn."""


@torch.inference_mode()
def compute_features(
    network: ActionNetwork,
    video: Video,
    storage: Storage,
    sweep: Sweep,
    views: Views,
    frames_at_once: int = FRAMES_AT_ONCE,
) -> tuple[Int[np.ndarray, " time"], Float16[np.ndarray, "views time values"]]:
    """Return the positions that a sweep looks at, and each frame's features in each view.

    Frames are decoded once for all views. Raises ModelError where a feature is out of float16's
    range.
    """
    spec = network.spec
    positions = sweep.distinct_positions(video, spec.stream)
    reader = ClipReader(spec.stream, storage, spec.short_side)
    source = CropSource(reader, spec.input_size, views.scales, views.horizontal_flip)
    chunks = [
        _look(network, views.crops(clip, video, source))
        for clip in reader.read_chunks(video, positions, max(1, frames_at_once // views.number))
    ]
    features = np.concatenate(chunks, axis=1)
    if not np.isfinite(features).all():
        raise ModelError(
            f"features of {spec.backbone} are out of float16's range on {video}: they cannot be "
            "stored; set model.freeze and train.warm_start to none, or take another model.backbone"
        )
    return positions, features


def _look(
    network: ActionNetwork, crops: Sequence[UInt8[np.ndarray, "chunk channels height width"]]
) -> Float16[np.ndarray, "views chunk values"]:
    frames = torch.from_numpy(np.concatenate(crops)).to(network.mean.device)
    values = network.flat_pyramid(frames).to(torch.float16)
    return values.unflatten(0, (len(crops), -1)).cpu().numpy()
