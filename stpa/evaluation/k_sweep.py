"""The K-sweep: each video's scores for every number of test segments, from one pass.

Each distinct frame is decoded once and goes through the backbone once; each K merges the states
of its own frames. So a sweep costs little more than its frames, in memory that does not grow
with them.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from stpa.data.clips import load_test_chunks, stored_frames
from stpa.data.manifest import Video
from stpa.data.sampling import GRIDS, Grid
from stpa.models.checkpoint import load_shared
from stpa.models.heads import MergingHead, State, stack_states
from stpa.models.network import ActionNetwork
from stpa.shapes import Float, Int

FRAMES_AT_ONCE = 16
"""Frames through the backbone together; bounds memory, not results."""

LogitsByK = dict[int, Float[np.ndarray, " classes"]]

LogitsByVideo = dict[str, LogitsByK]
"""By video id and K."""

StatesByK = dict[int, State]
"""What some frames of a video contribute to each K that looks at any of them."""


def load_and_sweep(
    video: Video, *, model_folder: Path, root: Path, sweep: Sequence[int], grid: str, device: str
) -> LogitsByK:
    """Load a model, as `load_shared` does, and sweep a video."""
    return sweep_video(load_shared(model_folder, device), video, root, sweep, grid=grid)


@torch.inference_mode()
def sweep_video(
    network: ActionNetwork,
    video: Video,
    root: Path,
    sweep: Sequence[int],
    *,
    grid: str,
    frames_at_once: int = FRAMES_AT_ONCE,
) -> LogitsByK:
    """Classify one video at the test positions of each K in `sweep`; return logits by K.

    `grid` is a name in `GRIDS`, and `root` holds the files of the network's stream.
    """
    if isinstance(network.head, MergingHead):
        states = sum_up_video(network, video, root, sweep, grid=grid, frames_at_once=frames_at_once)
        return read_states(network, [states])
    positions, distinct = _positions(network, video, sweep, grid)
    chunks = _look(network, video, root, distinct, frames_at_once)
    frames = tuple(torch.cat(parts) for parts in zip(*(c for _, c in chunks), strict=True))
    return {
        k: network.classify(_choose(frames, distinct, chosen)).cpu().numpy()
        for k, chosen in positions.items()
    }


@torch.inference_mode()
def sum_up_video(
    network: ActionNetwork,
    video: Video,
    root: Path,
    sweep: Sequence[int],
    *,
    grid: str,
    part: tuple[int, int] = (0, 1),
    frames_at_once: int = FRAMES_AT_ONCE,
) -> StatesByK:
    """Sum up what each K looks at in a video, or in `part` (i, n): the i-th of n runs of frames.

    The parts of a long video can be summed up on different machines, for `read_states`.
    """
    positions, distinct = _positions(network, video, sweep, grid)
    index, num_parts = part
    mine = np.array_split(distinct, num_parts)[index]
    sums: StatesByK = {}
    for seen, states in _look(network, video, root, mine, frames_at_once):
        for k, chosen in positions.items():
            here = chosen[np.isin(chosen, seen)]
            if len(here):
                more = network.merge(_choose(states, seen, here))
                sums[k] = network.merge(stack_states([sums[k], more])) if k in sums else more
    return sums


def load_and_sum_up(
    video_and_part: tuple[Video, tuple[int, int]],
    *,
    model_folder: Path,
    root: Path,
    sweep: Sequence[int],
    grid: str,
    device: str,
) -> StatesByK:
    """Load a model, as `load_shared` does, and sum up a part of a video; return CPU states."""
    video, part = video_and_part
    network = load_shared(model_folder, device)
    sums = sum_up_video(network, video, root, sweep, grid=grid, part=part)
    return {k: tuple(each.cpu() for each in state) for k, state in sums.items()}


def num_frames_looked_at(video: Video, stream: str, sweep: Sequence[int], grid: str) -> int:
    """Return how many distinct positions of a video a sweep looks at."""
    return len(np.unique(np.concatenate(list(_grid(video, stream, sweep, grid).values()))))


@torch.inference_mode()
def read_states(network: ActionNetwork, parts: Sequence[Mapping[int, State]]) -> LogitsByK:
    """Classify a video by the states of its disjoint parts; return logits by K."""
    found: dict[int, list[State]] = {}
    for part in parts:
        for k, state in part.items():
            found.setdefault(k, []).append(state)
    return {
        k: network.classify(stack_states(states)).cpu().numpy()
        for k, states in sorted(found.items())
    }


def _positions(
    network: ActionNetwork, video: Video, sweep: Sequence[int], grid: str
) -> tuple[Grid, Int[np.ndarray, " time"]]:
    """Return each K's positions, and all distinct ones in order."""
    positions = _grid(video, network.spec.stream, sweep, grid)
    return positions, np.unique(np.concatenate(list(positions.values())))


def _grid(video: Video, stream: str, sweep: Sequence[int], grid: str) -> Grid:
    num_frames, span = stored_frames(video, stream)
    return GRIDS[grid](num_frames, sweep, span)


def _look(
    network: ActionNetwork,
    video: Video,
    root: Path,
    positions: Int[np.ndarray, " time"],
    frames_at_once: int,
) -> Iterator[tuple[Int[np.ndarray, " _chunk"], State]]:
    """Yield chunks of `positions` with the states of their frames."""
    spec = network.spec
    clips = load_test_chunks(
        video,
        spec.stream,
        root,
        positions,
        frames_at_once,
        short_side=spec.short_side,
        input_size=spec.input_size,
    )
    start = 0
    for clip in clips:
        frames = torch.from_numpy(clip).to(network.mean.device)
        yield positions[start : start + len(clip)], network.frame_states(network.pyramid(frames))
        start += len(clip)


def _choose(
    states: State, seen: Int[np.ndarray, " _chunk"], chosen: Int[np.ndarray, " frames"]
) -> State:
    """Pick the states of the `chosen` positions out of those of the `seen` ones."""
    index = torch.from_numpy(np.searchsorted(seen, chosen)).to(states[0].device)
    return tuple(part[index] for part in states)
