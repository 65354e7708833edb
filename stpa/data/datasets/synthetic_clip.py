"""Script and draw one generated clip, so that neither stream alone can tell its class.

A class is an appearance x a motion. The actor is a textured disc with three degrees of
freedom: offset along x, offset along y, and angle. Each has a phase, drawn uniformly; the
class says which one's phase turns. So at any single frame the pose has one and the same
distribution whatever the motion. The appearance is a direction in the chroma plane, under
a luma drawn alike for all: the luma, which optical flow is taken from, does not know it.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from stpa.files import digest_value
from stpa.shapes import Float, UInt8

APPEARANCES = {"Amber": 150.0, "Jade": 270.0, "Violet": 30.0}
"""Name -> direction in the (Cb, Cr) plane, degrees."""

MOTIONS = ("Sway", "Bounce", "Twist")
"""In the order of the degrees of freedom: x, y, angle."""

_ACTION_SHARE = (0.7, 0.85)  # of the frames
_RADIUS = (0.18, 0.21)  # this and the lengths below: shares of the frame's side
_REACH = np.array([0.13, 0.13, 1.3])  # of a swing, each way; the angle's in radians
_SPEED = np.array([0.03, 0.03, 0.3])  # per frame
_SHAKE = (0.0008, 0.0024)  # standard deviation of the camera's steps
_SHAKE_LIMIT = 0.03
# The actor's colours stay within RGB's range: where they were clipped, gray would tell the hue.
_ACTOR_LUMA = (126.0, 22.0)  # mean and standard deviation
_ACTOR_CHROMA = 43.0
_CLUTTER_CHROMA = 10.0


@dataclass(frozen=True)
class ClipScript:
    """Everything about a clip that is decided before it is drawn; lengths in px."""

    appearance: str
    motion: str
    group: int
    first_frame: int  # of the action; the actor is not there before it
    poses: Float[np.ndarray, "action_time 3"]  # of the actor on the frame: x, y, angle
    camera: Float[np.ndarray, "time 2"]  # offset of the scene
    radius: float
    idler: Float[np.ndarray, "3"]  # pose of the idle distractor in the scene
    seed: int

    def boxes(self) -> Float[np.ndarray, "action_time 4"]:
        """Return x0, y0, x1, y1 of the actor in each frame of the action."""
        centres = self.poses[:, :2]
        return np.concatenate([centres - self.radius, centres + self.radius], axis=1)


def write_script(
    appearance: str, motion: str, group: int, clip: int, *, num_frames: int, size_px: int, seed: int
) -> ClipScript:
    """Draw a clip's script; equal arguments give equal scripts."""
    random = _generator("clip", seed, appearance, motion, group, clip)
    length = round(num_frames * random.uniform(*_ACTION_SHARE))
    first_frame = int(random.integers(num_frames - length + 1))

    phases = np.tile(random.uniform(size=3), (length, 1))
    turning = MOTIONS.index(motion)
    phases[:, turning] += np.arange(length) * (_SPEED / (4 * _REACH))[turning]
    swing = _REACH * (4 * np.abs(phases % 1 - 0.5) - 1)

    radius = random.uniform(*_RADIUS)
    margin = radius + _REACH[0] + _SHAKE_LIMIT
    home = random.uniform(margin, 1 - margin, size=2)
    idler = random.uniform(0, 1, size=2)
    while np.linalg.norm(idler - home) < 2.5 * radius:
        idler = random.uniform(0, 1, size=2)

    shakiness = _generator("camera", seed, group).uniform(*_SHAKE)
    steps = random.normal(scale=shakiness, size=(num_frames, 2))
    camera = np.clip(np.cumsum(steps, axis=0), -_SHAKE_LIMIT, _SHAKE_LIMIT)
    centres = home + swing[:, :2] + camera[first_frame : first_frame + length]
    return ClipScript(
        appearance=appearance,
        motion=motion,
        group=group,
        first_frame=first_frame,
        poses=np.column_stack([centres * size_px, swing[:, 2]]),
        camera=camera * size_px,
        radius=radius * size_px,
        idler=np.array([*idler * size_px, random.uniform(0, 2 * np.pi)]),
        seed=int(random.integers(2**31)),
    )


def draw_clip(script: ClipScript, size_px: int, seed: int) -> UInt8[np.ndarray, "time h w 3"]:
    """Return the frames as Y, Cb, Cr of ITU-R BT.601, limited range."""
    random = np.random.default_rng(script.seed)
    margin = int(np.ceil(_SHAKE_LIMIT * size_px)) + 1
    scene = _scene(_generator("scene", seed, script.group), random, size_px + 2 * margin)
    actor = _disc(random, script.radius, size_px, APPEARANCES[script.appearance])
    idler = _disc(random, script.radius, size_px, None)
    frames = np.empty((len(script.camera), size_px, size_px, 3), np.uint8)
    for index, shift in enumerate(script.camera):
        frame = _place(scene, (size_px / 2 + shift[0], size_px / 2 + shift[1], 0.0), size_px)
        _overlay(frame, idler, (*(script.idler[:2] + shift), script.idler[2]))
        action_frame = index - script.first_frame
        if 0 <= action_frame < len(script.poses):
            _overlay(frame, actor, tuple(script.poses[action_frame]))
        frames[index] = np.clip(np.rint(frame), 16, 235)
    return frames


def _generator(*key: Any) -> np.random.Generator:
    return np.random.default_rng(int(digest_value(key, length=32), 16))


def _scene(
    group_random: np.random.Generator, random: np.random.Generator, side: int
) -> Float[np.ndarray, "side side 3"]:
    """Draw clutter: the group's place and palette, with things put down afresh in each clip."""
    palette = group_random.uniform(0, 360, size=4)
    scene = np.empty((side, side, 3), np.float32)
    scene[..., 0] = group_random.uniform(90, 150) + 30 * _noise(group_random, side, side / 8)
    scene[..., 1:] = _chroma(palette[0], _CLUTTER_CHROMA)
    for _ in range(14):
        centre = tuple(int(value) for value in random.uniform(0, side, size=2))
        axes = tuple(int(value) for value in random.uniform(0.03, 0.12, size=2) * side)
        colour = (random.uniform(60, 190), *_chroma(random.choice(palette), _CLUTTER_CHROMA))
        angle = random.uniform(0, 180)
        cv2.ellipse(scene, centre, axes, angle, 0, 360, colour, thickness=-1)
    scene[..., 0] += 12 * _noise(random, side, side / 40)
    return scene


def _disc(
    random: np.random.Generator, radius: float, size_px: int, hue_degrees: float | None
) -> Float[np.ndarray, "side side 4"]:
    """Draw a textured disc: Y, Cb, Cr, coverage. No hue: gray."""
    side = 2 * int(np.ceil(radius)) + 3
    disc = np.empty((side, side, 4), np.float32)
    mean, deviation = _ACTOR_LUMA
    disc[..., 0] = mean + deviation * _noise(random, side, size_px / 20)
    disc[..., 1:3] = 128 if hue_degrees is None else _chroma(hue_degrees, _ACTOR_CHROMA)
    across = np.arange(side) - (side - 1) / 2
    disc[..., 3] = np.clip(radius + 0.5 - np.hypot(across, across[:, None]), 0, 1)
    return disc


def _noise(random: np.random.Generator, side: int, grain: float) -> Float[np.ndarray, "side side"]:
    """Return smooth noise of unit variance, clipped at two deviations, with blobs of `grain` px."""
    noise = cv2.GaussianBlur(random.normal(size=(side, side)), (0, 0), grain / 2)
    return np.clip((noise - noise.mean()) / noise.std(), -2, 2)


def _chroma(hue_degrees: float, strength: float) -> tuple[float, float]:
    hue = np.deg2rad(hue_degrees)
    return 128 + strength * np.cos(hue), 128 + strength * np.sin(hue)


def _place(
    picture: Float[np.ndarray, "side side channels"], pose: tuple[float, ...], size_px: int
) -> Float[np.ndarray, "h w channels"]:
    """Lay a picture on an empty frame, its centre at x, y, turned by an angle in radians."""
    x, y, angle = pose
    middle = (picture.shape[0] - 1) / 2
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    move = np.array([x, y]) - turn @ [middle, middle]
    return cv2.warpAffine(picture, np.column_stack([turn, move]), (size_px, size_px))


def _overlay(
    frame: Float[np.ndarray, "h w 3"],
    disc: Float[np.ndarray, "side side 4"],
    pose: tuple[float, ...],
) -> None:
    """Put a disc on a frame, in place."""
    placed = _place(disc, pose, frame.shape[0])
    coverage = placed[..., 3:]
    # Outside the disc's square nothing is laid; inside, its borders blend by coverage.
    frame += coverage * (placed[..., :3] - frame)
