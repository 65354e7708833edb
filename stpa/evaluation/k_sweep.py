"""The K-sweep: each video's scores for every number of test segments, from one pass."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from stpa.data.clips import load_test_clip, stored_frames
from stpa.data.manifest import Video
from stpa.data.sampling import test_positions
from stpa.models.checkpoint import load_model
from stpa.models.network import ActionNetwork
from stpa.shapes import Float, UInt8

FRAMES_AT_ONCE = 32
"""Frames through the backbone together; bounds memory, not results."""


LogitsByVideo = dict[str, dict[int, Float[np.ndarray, " classes"]]]
"""By video id and K."""


def sweep_videos(
    videos: Sequence[Video], *, model_folder: Path, root: Path, sweep: Sequence[int], device: str
) -> LogitsByVideo:
    """Load a model and sweep some videos; return their logits."""
    network = load_model(model_folder).to(device)
    return {video.video_id: sweep_video(network, video, root, sweep) for video in videos}


@torch.inference_mode()
def sweep_video(
    network: ActionNetwork, video: Video, root: Path, sweep: Sequence[int]
) -> dict[int, Float[np.ndarray, " classes"]]:
    """Classify one video at TSN's test positions of each K in `sweep`; return logits by K.

    Every distinct frame is read and goes through the backbone once; each K merges the states of
    its own frames. `root` holds the files of the network's stream.
    """
    spec = network.spec
    num_frames, span = stored_frames(video, spec.stream)
    positions = {k: test_positions(num_frames, k, span) for k in sweep}
    distinct = np.unique(np.concatenate(list(positions.values())))
    clip = load_test_clip(
        video, spec.stream, root, distinct, short_side=spec.short_side, input_size=spec.input_size
    )
    states = _frame_states(network, torch.from_numpy(clip))
    logits = {}
    for k, chosen in positions.items():
        index = torch.from_numpy(np.searchsorted(distinct, chosen))
        logits[k] = network.head.classify(tuple(part[index] for part in states)).cpu().numpy()
    return logits


def _frame_states(
    network: ActionNetwork, frames: UInt8[torch.Tensor, "time channels height width"]
) -> tuple[torch.Tensor, ...]:
    """Return the head's mergeable state of each frame alone."""
    device = network.mean.device
    chunks = [
        network.head.frame_states(network.pyramid(chunk.to(device)))
        for chunk in frames.split(FRAMES_AT_ONCE)
    ]
    return tuple(torch.cat(parts) for parts in zip(*chunks, strict=True))
