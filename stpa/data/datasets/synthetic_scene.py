"""Draw generated clips from their scripts.

The appearance is a direction in the chroma plane, under a luma drawn alike for all: the luma,
which optical flow is taken from, does not know it. A distractor has all appearances at once, in
three sectors. It and the patches that come and go are drawn by the group and the clip's number
alone: alike in all classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from stpa.config import SyntheticConfig
from stpa.data.datasets.synthetic_clip import (
    APPEARANCES,
    SHAKE_LIMIT,
    ClipScript,
)
from stpa.data.keyed_random import keyed_generator
from stpa.shapes import Float, UInt8

# The actor's colours stay within RGB's range: where they were clipped, gray would tell the hue.
_ACTOR_LUMA = (126.0, 22.0)  # mean and standard deviation
_ACTOR_CHROMA = 43.0
_CLUTTER_CHROMA = 10.0
_PATCH_CHROMA = 20.0
_NUM_PATCHES = 12
_PATCH_SHARE = (0.15, 0.5)  # of the frames, half faded in or more
_FADE_FRAMES = 4
_SECTOR_EVENNESS = 8  # Dirichlet's alpha: sectors are a third of the disc, give or take a tenth


@dataclass(frozen=True)
class _Patch:
    """A piece of the scene that comes and goes."""

    window: tuple[slice, slice]  # of the scene, which it lies in
    mask: Float[np.ndarray, "h w 1"]
    colour: Float[np.ndarray, "3"]  # Y, Cb, Cr
    opacity: Float[np.ndarray, " time"]


def draw_clip(script: ClipScript, settings: SyntheticConfig) -> UInt8[np.ndarray, "time h w 3"]:
    """Return the frames as Y, Cb, Cr of ITU-R BT.601, limited range.

    `settings` are those that the script was written by.
    """
    size_px = settings.size_px
    random = np.random.default_rng(script.seed)
    margin = int(np.ceil(SHAKE_LIMIT * size_px)) + 1
    shared = keyed_generator("scene", settings.seed, script.group)
    scene = _scene(shared, random, size_px + 2 * margin)
    patches = _patches(script, settings, len(scene)) if settings.clutter == "changing" else ()
    actor = _disc(random, script.actor.radius, size_px, APPEARANCES[script.appearance])
    idler = _disc(random, script.actor.radius, size_px, None)
    movers = [(script.actor, actor)]
    if script.distractor is not None:  # behind the actor, which is always seen
        movers.insert(0, (script.distractor, _three_coloured(script, settings)))
    frames = np.empty((len(script.camera), size_px, size_px, 3), np.uint8)
    for index, shift in enumerate(script.camera):
        middle = (size_px / 2 + shift[0], size_px / 2 + shift[1], 0.0)
        frame = _place(_changed(scene, patches, index), middle, size_px)
        _overlay(frame, idler, (*(script.idler[:2] + shift), script.idler[2]))
        for mover, disc in movers:
            if 0 <= index - mover.first_frame < len(mover.poses):
                _overlay(frame, disc, tuple(mover.poses[index - mover.first_frame]))
        frames[index] = np.clip(np.rint(frame), 16, 235)
    return frames


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


def _patches(script: ClipScript, settings: SyntheticConfig, side: int) -> list[_Patch]:
    """Draw what fades in and out, all over a scene and all along a clip."""
    random = keyed_generator("patches", settings.seed, script.group, script.clip)
    frames = np.arange(settings.num_frames)
    patches = []
    for _ in range(_NUM_PATCHES):
        mask = np.zeros((side, side, 1), np.uint8)
        centre = tuple(int(value) for value in random.uniform(0, side, size=2))
        axes = tuple(int(value) for value in random.uniform(0.04, 0.12, size=2) * side)
        cv2.ellipse(mask, centre, axes, random.uniform(0, 180), 0, 360, 1, thickness=-1)
        x, y, width, height = cv2.boundingRect(mask)
        window = slice(y, y + height), slice(x, x + width)
        luma, hue = random.uniform(60, 190), random.uniform(0, 360)
        half = random.uniform(*_PATCH_SHARE) * settings.num_frames / 2
        distance = np.abs(frames - random.uniform(0, settings.num_frames))  # from its middle frame
        patches.append(
            _Patch(
                window,
                mask[window].astype(np.float32),
                np.array([luma, *_chroma(hue, _PATCH_CHROMA)], np.float32),
                np.clip(0.5 + (half - distance) / _FADE_FRAMES, 0, 1).astype(np.float32),
            )
        )
    return patches


def _changed(
    scene: Float[np.ndarray, "side side 3"], patches: Sequence[_Patch], index: int
) -> Float[np.ndarray, "side side 3"]:
    """Return the scene as it is in frame `index`."""
    changed = scene.copy()
    for patch in patches:
        below = changed[patch.window]
        below += patch.mask * patch.opacity[index] * (patch.colour - below)
    return changed


def _three_coloured(
    script: ClipScript, settings: SyntheticConfig
) -> Float[np.ndarray, "side side 4"]:
    """Draw the distractor: an actor's texture, with a sector in the colour of each appearance."""
    assert script.distractor is not None
    random = keyed_generator("sectors", settings.seed, script.group, script.clip)
    disc = _disc(random, script.distractor.radius, settings.size_px, None)
    across = np.arange(len(disc)) - (len(disc) - 1) / 2
    turn = np.arctan2(across[:, None], across) / (2 * np.pi) % 1
    first, second = np.cumsum(random.dirichlet(_SECTOR_EVENNESS * np.ones(3)))[:2]
    hues = random.permutation(list(APPEARANCES.values()))
    chroma = np.array([_chroma(hue, _ACTOR_CHROMA) for hue in hues])
    disc[..., 1:3] = chroma[np.digitize(turn, [first, second])]
    return disc


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
