"""Script one generated clip, so that neither stream alone can tell its class.

A class is an appearance x a motion. The actor is a textured disc with three degrees of
freedom: offset along x, offset along y, and angle. Each has a phase, drawn uniformly; the
class says which one's phase turns. So at any single frame the pose has one and the same
distribution whatever the motion. A distractor turns all three phases at once, with random numbers
that all classes share. It keeps away from the actor's home, the middle of its swings, which has one
distribution next to a pose whatever the motion, too. How a script is drawn, so that the luma does
not know the appearance: `stpa.data.datasets.synthetic_scene`.
"""

from dataclasses import dataclass

import numpy as np

from stpa.config import SyntheticConfig
from stpa.data.keyed_random import keyed_generator
from stpa.shapes import Float

APPEARANCES = {"Amber": 150.0, "Jade": 270.0, "Violet": 30.0}
"""Name -> direction in the (Cb, Cr) plane, degrees."""

MOTIONS = ("Sway", "Bounce", "Twist")
"""In the order of the degrees of freedom: x, y, angle."""

SHAKE_LIMIT = 0.03
"""The camera's largest offset along x or y; this and the lengths below: shares of the side."""

_REACH = np.array([0.13, 0.13, 1.3])  # of a swing, each way; the angle's in radians
_FULL_REACH_RADIUS = 0.17  # a smaller disc's x and y swing less, and slower, in proportion
_SPEED = np.array([0.03, 0.03, 0.3])  # per frame, at full reach
_TURNING = _SPEED / (4 * _REACH)  # of the phases, per frame; a swing there and back is a turn
_CENTRE_MARGIN = 0.34  # from the border to a home in the centre, at least
_SHAKE = (0.0008, 0.0024)  # standard deviation of the camera's steps
_DISTRACTOR_SHARE = (0.5, 1.0)  # of the frames
_DISTRACTOR_RADIUS = (1.0, 1.25)  # of the largest actor's
_DISTRACTOR_PACE = (0.6, 1.4)  # of the actor's, for each degree of freedom by itself
_DISTRACTOR_TRIES = 4  # random homes, of which the farthest from the actor's is taken


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
    clip: int
    actor: Mover  # there while the action lasts
    distractor: Mover | None
    camera: Float[np.ndarray, "time 2"]  # offset of the scene
    idler: Float[np.ndarray, "3"]  # pose in the scene of a gray disc that stays where it is
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
    shortest, longest = settings.action_share
    length = round(num_frames * random.uniform(shortest, longest))
    first_frame = int(random.integers(num_frames - length + 1))

    phases = np.tile(random.uniform(size=3), (length, 1))
    turning = MOTIONS.index(motion)
    phases[:, turning] += np.arange(length) * _TURNING[turning]

    smallest, largest = settings.actor_radius
    radius = random.uniform(smallest, largest)
    margin = radius + _reach(radius)[0] + SHAKE_LIMIT
    if settings.home == "centre":
        margin = max(margin, _CENTRE_MARGIN)
    home = random.uniform(margin, 1 - margin, size=2)
    idler = random.uniform(0, 1, size=2)
    while np.linalg.norm(idler - home) < 2.5 * radius:
        idler = random.uniform(0, 1, size=2)

    shakiness = keyed_generator("camera", settings.seed, group).uniform(*_SHAKE)
    steps = random.normal(scale=shakiness, size=(num_frames, 2))
    camera = np.clip(np.cumsum(steps, axis=0), -SHAKE_LIMIT, SHAKE_LIMIT)
    size_px = settings.size_px
    return ClipScript(
        appearance=appearance,
        motion=motion,
        group=group,
        clip=clip,
        actor=_mover(first_frame, phases, radius, home, camera, size_px),
        distractor=(
            None
            if settings.distractor == "none"
            else _distractor(settings, group, clip, camera, home)
        ),
        camera=camera * size_px,
        idler=np.array([*idler * size_px, random.uniform(0, 2 * np.pi)]),
        seed=int(random.integers(2**31)),
    )


def _distractor(
    settings: SyntheticConfig,
    group: int,
    clip: int,
    camera: Float[np.ndarray, "time 2"],
    actor_home: Float[np.ndarray, "2"],
) -> Mover:
    """Script the distractor, without knowing the class."""
    random = keyed_generator("distractor", settings.seed, group, clip)
    length = round(settings.num_frames * random.uniform(*_DISTRACTOR_SHARE))
    first_frame = int(random.integers(settings.num_frames - length + 1))
    radius = random.uniform(*_DISTRACTOR_RADIUS) * settings.actor_radius[1]
    turning = _TURNING * random.uniform(*_DISTRACTOR_PACE, size=3)
    phases = random.uniform(size=3) + np.outer(np.arange(length), turning)
    # Its swings may take it across the border, the actor's never do.
    homes = random.uniform(radius / 2, 1 - radius / 2, size=(_DISTRACTOR_TRIES, 2))
    home = homes[np.linalg.norm(homes - actor_home, axis=1).argmax()]
    return _mover(first_frame, phases, radius, home, camera, settings.size_px)


def _mover(
    first_frame: int,
    phases: Float[np.ndarray, "present_time 3"],
    radius: float,
    home: Float[np.ndarray, "2"],
    camera: Float[np.ndarray, "time 2"],
    size_px: int,
) -> Mover:
    """Turn phases into poses on the frame; lengths come as shares of its side."""
    swing = _reach(radius) * (4 * np.abs(phases % 1 - 0.5) - 1)
    centres = home + swing[:, :2] + camera[first_frame : first_frame + len(phases)]
    return Mover(first_frame, np.column_stack([centres * size_px, swing[:, 2]]), radius * size_px)


def _reach(radius: float) -> Float[np.ndarray, "3"]:
    share = min(1, radius / _FULL_REACH_RADIUS)
    return _REACH * [share, share, 1]
