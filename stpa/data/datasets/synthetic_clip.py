"""Script one generated clip, so that neither stream alone can tell its class.

A class is an appearance x a motion. The actor is a textured disc with three degrees of
freedom: offset along x, offset along y, and angle. Each has a phase, drawn uniformly; the
class says which one's phase turns. So at any single frame the pose has one and the same
distribution whatever the motion. How a script is drawn, so that the luma does not know the
appearance: `stpa.data.datasets.synthetic_scene`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from stpa.config import SyntheticConfig
from stpa.files import digest_value
from stpa.shapes import Float

APPEARANCES = {"Amber": 150.0, "Jade": 270.0, "Violet": 30.0}
"""Name -> direction in the (Cb, Cr) plane, degrees."""

MOTIONS = ("Sway", "Bounce", "Twist")
"""In the order of the degrees of freedom: x, y, angle."""

SHAKE_LIMIT = 0.03
"""The camera's largest offset along x or y; this and the lengths below: shares of the side."""

_ACTION_SHARE = (0.7, 0.85)  # of the frames
_RADIUS = (0.18, 0.21)
_REACH = np.array([0.13, 0.13, 1.3])  # of a swing, each way; the angle's in radians
_SPEED = np.array([0.03, 0.03, 0.3])  # per frame
_SHAKE = (0.0008, 0.0024)  # standard deviation of the camera's steps


@dataclass(frozen=True)
class Mover:
    """What is there for a part of the clip, and moves; lengths in px."""

    first_frame: int
    poses: Float[np.ndarray, "present_time 3"]  # on the frame: x, y, angle
    radius: float

    def boxes(self) -> Float[np.ndarray, "present_time 4"]:
        """Return x0, y0, x1, y1 in each frame in which it is there."""
        centres = self.poses[:, :2]
        return np.concatenate([centres - self.radius, centres + self.radius], axis=1)


@dataclass(frozen=True)
class ClipScript:
    """Everything about a clip that is decided before it is drawn; lengths in px."""

    appearance: str
    motion: str
    group: int
    actor: Mover  # there while the action lasts
    camera: Float[np.ndarray, "time 2"]  # offset of the scene
    idler: Float[np.ndarray, "3"]  # pose of the idle distractor in the scene
    seed: int

    @property
    def label(self) -> str:
        """The class."""
        return self.appearance + self.motion


def write_script(
    settings: SyntheticConfig, appearance: str, motion: str, group: int, clip: int
) -> ClipScript:
    """Draw a clip's script; equal arguments give equal scripts."""
    num_frames = settings.num_frames
    random = keyed_generator("clip", settings.seed, appearance, motion, group, clip)
    length = round(num_frames * random.uniform(*_ACTION_SHARE))
    first_frame = int(random.integers(num_frames - length + 1))

    phases = np.tile(random.uniform(size=3), (length, 1))
    turning = MOTIONS.index(motion)
    phases[:, turning] += np.arange(length) * (_SPEED / (4 * _REACH))[turning]
    swing = _REACH * (4 * np.abs(phases % 1 - 0.5) - 1)

    radius = random.uniform(*_RADIUS)
    margin = radius + _REACH[0] + SHAKE_LIMIT
    home = random.uniform(margin, 1 - margin, size=2)
    idler = random.uniform(0, 1, size=2)
    while np.linalg.norm(idler - home) < 2.5 * radius:
        idler = random.uniform(0, 1, size=2)

    shakiness = keyed_generator("camera", settings.seed, group).uniform(*_SHAKE)
    steps = random.normal(scale=shakiness, size=(num_frames, 2))
    camera = np.clip(np.cumsum(steps, axis=0), -SHAKE_LIMIT, SHAKE_LIMIT)
    centres = home + swing[:, :2] + camera[first_frame : first_frame + length]
    size_px = settings.size_px
    poses = np.column_stack([centres * size_px, swing[:, 2]])
    return ClipScript(
        appearance=appearance,
        motion=motion,
        group=group,
        actor=Mover(first_frame, poses, radius * size_px),
        camera=camera * size_px,
        idler=np.array([*idler * size_px, random.uniform(0, 2 * np.pi)]),
        seed=int(random.integers(2**31)),
    )


def keyed_generator(*key: Any) -> np.random.Generator:
    """Return the random numbers of all that is drawn by an equal key."""
    return np.random.default_rng(int(digest_value(key, length=32), 16))
