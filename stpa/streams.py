"""Streams: the kinds of input that a network is trained on. A classifier fuses one or more.

All that differs between RGB, optical flow and any other stream is in its value here. To add one,
add an entry to `STREAMS`, and a section of that name to `train.streams` in params.yaml.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line checks its arguments by this module, before anything heavy
    import numpy as np

    from stpa.shapes import Int, UInt8

STACK_LENGTH = 5
"""Steps from frame to frame that a motion stream sees at each position (TSN, section 3.2)."""

FLOW_ZERO = 128.0
"""The level of 255 that stored flow has where nothing moves: round(255 / 2) (TSN)."""


def single_frames(
    frames: "UInt8[np.ndarray, 'time 1 3 height width']",
) -> "UInt8[np.ndarray, 'time 3 height width']":
    """Return one frame per position."""
    return frames[:, 0]


def differences(
    frames: "UInt8[np.ndarray, 'time span 3 height width']",
) -> "UInt8[np.ndarray, 'time channels height width']":
    """Return the change from each frame to the next, R G B R G B ..., in half levels about 128."""
    wide = frames.astype("int16")
    levels = ((wide[:, 1:] - wide[:, :-1]) // 2 + 128).clip(0, 255).astype("uint8")
    return levels.reshape(len(frames), -1, *frames.shape[3:])


@dataclass(frozen=True)
class Stream:
    """A kind of input: what is read at each position of a video, and how a network takes it."""

    name: str
    """As `train.streams` and files name it."""
    title: str
    """As a person reads it."""
    colour: str
    """Of its lines in plots."""
    span: int
    """Stored frames that one position reads, in a row."""
    channels: int
    """Channels of one position."""
    reads_optical_flow: bool = False
    """Whether it reads the stored optical flow; else the videos."""
    rest_level: float | None = None
    """The level of 255 where nothing moves; None for pictures."""
    rightward_channels: tuple[int, ...] = ()
    """Channels that count motion to the right: in a mirror they change their sign."""
    stack: "Callable[[np.ndarray], np.ndarray]" = single_frames
    """What it makes of the frames of a video at each position; of stored flow, nothing more."""

    def __str__(self) -> str:
        return self.name

    @property
    def is_coloured(self) -> bool:
        """Whether channels come in threes of red, green and blue, as pretrained networks know."""
        return not self.reads_optical_flow

    def stored_frames(self, num_frames: int) -> int:
        """Return how many frames it has to read of a video of `num_frames`."""
        return num_frames - 1 if self.reads_optical_flow else num_frames

    def middle_frames(
        self, positions: "Int[np.ndarray, ' time']", num_frames: int
    ) -> "Int[np.ndarray, ' time']":
        """Return the frames of a video of `num_frames` that positions stand for: of several frames
        in a row, the middle one."""
        return (positions + self.span // 2).clip(max=num_frames - 1)


RGB = Stream("rgb", title="RGB", colour="#d95f02", span=1, channels=3)
FLOW = Stream(
    "flow",
    title="optical flow",
    colour="#1b9e77",
    span=STACK_LENGTH,
    channels=2 * STACK_LENGTH,  # x y x y ...
    reads_optical_flow=True,
    rest_level=FLOW_ZERO,
    rightward_channels=tuple(range(0, 2 * STACK_LENGTH, 2)),
)
RGB_DIFFERENCE = Stream(
    "rgb_difference",
    title="RGB difference",
    colour="#7570b3",
    span=STACK_LENGTH + 1,
    channels=3 * STACK_LENGTH,
    rest_level=128.0,
    stack=differences,
)
"""TSN's cheap stand-in for optical flow (Wang et al., ECCV 2016, section 3.2)."""

STREAMS = {stream.name: stream for stream in (RGB, FLOW, RGB_DIFFERENCE)}
