"""The K-sweep: each video's scores for every number of test segments, from one pass.

Each distinct frame is decoded once and goes through the backbone once; each K merges the states
of its own frames. So a sweep costs little more than its frames, in memory that does not grow
with them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from stpa.data.clips import ClipReader, stored_frames
from stpa.data.features import FeatureSource
from stpa.data.manifest import Video
from stpa.data.sampling import GRIDS, Grid
from stpa.data.storage import Storage
from stpa.data.transforms import test_crops
from stpa.models.checkpoint import load_shared
from stpa.models.heads import MergingHead, State, stack_states
from stpa.models.network import ActionNetwork
from stpa.shapes import Float, Int
from stpa.streams import Stream

FRAMES_AT_ONCE = 16
"""Crops of frames through the backbone together; bounds memory, not results."""

Source = Storage | FeatureSource
"""Holds the files of a network's stream, or what its frozen backbone made of them."""

LogitsByK = dict[int, Float[np.ndarray, " classes"]]

LogitsByVideo = dict[str, LogitsByK]
"""By video id and K."""

StatesByK = dict[int, State]
"""What some frames of a video contribute to each K that looks at any of them; the first axis of a
state is the crop."""


@dataclass(frozen=True)
class Sweep:
    """What is looked at of each video."""

    values_of_k: tuple[int, ...]
    grid: str
    """A name in `GRIDS`."""
    num_crops: int = 1
    """Of each frame (`stpa.data.transforms.test_crops`); the mean of their logits counts."""

    def positions(self, video: Video, stream: Stream) -> Grid:
        """Return each K's positions in a video."""
        num_frames, span = stored_frames(video, stream)
        return GRIDS[self.grid](num_frames, self.values_of_k, span)

    def distinct_positions(self, video: Video, stream: Stream) -> Int[np.ndarray, " time"]:
        """Return the positions of all K in order, each once."""
        return np.unique(np.concatenate(list(self.positions(video, stream).values())))


def load_and_sweep(
    video: Video, *, model_folder: Path, source: Source, sweep: Sweep, device: str
) -> LogitsByK:
    """Load a model, as `load_shared` does, and sweep a video."""
    return sweep_video(load_shared(model_folder, device), video, source, sweep)


@torch.inference_mode()
def sweep_video(
    network: ActionNetwork,
    video: Video,
    source: Source,
    sweep: Sweep,
    *,
    frames_at_once: int = FRAMES_AT_ONCE,
) -> LogitsByK:
    """Classify one video at the test positions of each K of `sweep`; return logits by K."""
    if isinstance(network.head, MergingHead):
        states = sum_up_video(network, video, source, sweep, frames_at_once=frames_at_once)
        return read_states(network, [states])
    positions = sweep.positions(video, network.spec.stream)
    distinct = sweep.distinct_positions(video, network.spec.stream)
    chunks = _look(network, video, source, distinct, sweep.num_crops, frames_at_once)
    frames = tuple(torch.cat(parts, dim=1) for parts in zip(*(c for _, c in chunks), strict=True))
    return {
        k: _classify(network, _choose(frames, distinct, chosen)) for k, chosen in positions.items()
    }


@torch.inference_mode()
def sum_up_video(
    network: ActionNetwork,
    video: Video,
    source: Source,
    sweep: Sweep,
    *,
    part: tuple[int, int] = (0, 1),
    frames_at_once: int = FRAMES_AT_ONCE,
) -> StatesByK:
    """Sum up what each K looks at in a video, or in `part` (i, n): the i-th of n runs of frames.

    The parts of a long video can be summed up on different machines, for `read_states`.
    """
    positions = sweep.positions(video, network.spec.stream)
    index, num_parts = part
    distinct = sweep.distinct_positions(video, network.spec.stream)
    mine = np.array_split(distinct, num_parts)[index]
    sums: StatesByK = {}
    chunks = _look(network, video, source, mine, sweep.num_crops, frames_at_once)
    for seen, states in chunks:
        for k, chosen in positions.items():
            here = chosen[np.isin(chosen, seen)]
            if len(here):
                more = network.merge(_choose(states, seen, here))
                sums[k] = network.merge(stack_states([sums[k], more])) if k in sums else more
    return sums


@dataclass(frozen=True)
class Part:
    """The `index`-th of `count` runs of the frames that a sweep looks at in a video."""

    video: Video
    index: int
    count: int

    def __str__(self) -> str:
        """Name the video, for an error."""
        return str(self.video)


def load_and_sum_up(
    part: Part,
    *,
    model_folder: Path,
    source: Source,
    sweep: Sweep,
    device: str,
) -> StatesByK:
    """Load a model, as `load_shared` does, and sum up a part of a video; return CPU states."""
    network = load_shared(model_folder, device)
    runs = part.index, part.count
    sums = sum_up_video(network, part.video, source, sweep, part=runs)
    return {k: tuple(each.cpu() for each in state) for k, state in sums.items()}


@torch.inference_mode()
def read_states(network: ActionNetwork, parts: Sequence[Mapping[int, State]]) -> LogitsByK:
    """Classify a video by the states of its disjoint parts; return logits by K."""
    found: dict[int, list[State]] = {}
    for part in parts:
        for k, state in part.items():
            found.setdefault(k, []).append(state)
    return {k: _classify(network, stack_states(states)) for k, states in sorted(found.items())}


def _look(
    network: ActionNetwork,
    video: Video,
    source: Source,
    positions: Int[np.ndarray, " time"],
    num_crops: int,
    frames_at_once: int,
) -> Iterator[tuple[Int[np.ndarray, " _chunk"], State]]:
    """Yield chunks of `positions` with the states of their frames, by crop and frame."""
    size = max(1, frames_at_once // num_crops)
    start = 0
    for frames in _read_chunks(network, video, source, positions, num_crops, size):
        states = network.frame_states(network.pyramid(frames.to(network.mean.device)), num_crops)
        stop = start + len(frames) // num_crops
        yield positions[start:stop], states
        start = stop


def _read_chunks(
    network: ActionNetwork,
    video: Video,
    source: Source,
    positions: Int[np.ndarray, " time"],
    num_crops: int,
    size: int,
) -> Iterator[torch.Tensor]:
    """Yield what a network takes of at most `size` positions at a time, crop after crop."""
    if isinstance(source, FeatureSource):
        assert num_crops == 1, "the centre crop alone is judged by its features"
        for start in range(0, len(positions), size):
            yield source.read(video, positions[start : start + size])
        return
    spec = network.spec
    reader = ClipReader(spec.stream, source, spec.short_side)
    for clip in reader.read_chunks(video, positions, size):
        crops = test_crops(clip, spec.input_size, num_crops, spec.stream)
        yield torch.from_numpy(crops).flatten(0, 1)


def _classify(network: ActionNetwork, states: State) -> Float[np.ndarray, " classes"]:
    return network.classify(states).mean(dim=0).cpu().numpy()


def _choose(
    states: State, seen: Int[np.ndarray, " _chunk"], chosen: Int[np.ndarray, " frames"]
) -> State:
    """Pick the states of the `chosen` positions out of those of the `seen` ones."""
    index = torch.from_numpy(np.searchsorted(seen, chosen)).to(states[0].device)
    return tuple(part[:, index] for part in states)
