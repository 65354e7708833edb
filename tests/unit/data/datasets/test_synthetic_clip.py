import cv2
import numpy as np
import pytest
from scipy.stats import kstest

from stpa.data.datasets.synthetic_clip import (
    APPEARANCES,
    MOTIONS,
    ClipScript,
    draw_clip,
    write_script,
)


def _script(appearance="Jade", motion="Sway", group=1, clip=1, num_frames=40) -> ClipScript:
    return write_script(appearance, motion, group, clip, num_frames=num_frames, size_px=96, seed=0)


def _swing(script: ClipScript) -> np.ndarray:
    """Return the actor's x, y and angle in the scene, the camera's shake taken out."""
    poses = script.poses.copy()
    poses[:, :2] -= script.camera[script.first_frame : script.first_frame + len(poses)]
    return poses


def _chroma(frames: np.ndarray) -> np.ndarray:
    """Return each pixel's distance from gray."""
    return np.hypot(frames[..., 1] - 128.0, frames[..., 2] - 128.0)


@pytest.mark.parametrize(("motion", "moving"), [("Sway", 0), ("Bounce", 1), ("Twist", 2)])
def test_a_motion_moves_its_own_degree_of_freedom_alone(motion, moving):
    spans = np.ptp(_swing(_script(motion=motion)), axis=0)
    assert spans[moving] > 1
    np.testing.assert_allclose(np.delete(spans, moving), 0, atol=1e-9)


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_motion_keeps_its_pace_but_where_it_turns(motion):
    steps = np.abs(np.diff(_swing(_script(motion=motion))[:, MOTIONS.index(motion)]))
    pace = steps.max()
    assert (np.isclose(steps, pace)).mean() > 0.7


@pytest.mark.parametrize("freedom", range(3), ids=["x", "y", "angle"])
def test_a_single_pose_has_one_distribution_for_all_motions(freedom):
    random = np.random.default_rng(0)
    samples = {
        motion: [
            random.choice(_script(motion=motion, group=clip % 10, clip=clip).poses)[freedom]
            for clip in range(600)
        ]
        for motion in MOTIONS
    }
    for motion in MOTIONS[1:]:
        assert kstest(samples[MOTIONS[0]], samples[motion]).pvalue > 0.01


def test_luma_does_not_know_the_appearance():
    """Equal scripts but for the appearance: what optical flow is taken from is the same."""
    drawn = [
        draw_clip(ClipScript(**{**vars(_script()), "appearance": appearance}), size_px=96, seed=0)
        for appearance in APPEARANCES
    ]
    for other in drawn[1:]:
        np.testing.assert_array_equal(other[..., 0], drawn[0][..., 0])
        assert (other[..., 1:] != drawn[0][..., 1:]).any()


@pytest.mark.parametrize("appearance", APPEARANCES)
def test_no_colour_of_an_actor_leaves_the_range_of_rgb(appearance):
    """Where it did, clipping would let the hue into the gray that optical flow is taken from."""
    frames = draw_clip(_script(appearance=appearance), size_px=96, seed=0)
    y, cb, cr = frames[_chroma(frames) > 30].astype(float).T - [[16], [128], [128]]
    red, blue = (y * 255 / 219 + c * 255 / 224 for c in (1.402 * cr, 1.772 * cb))
    green = y * 255 / 219 - (0.344 * cb + 0.714 * cr) * 255 / 224
    for channel in (red, green, blue):
        assert channel.min() > -0.5
        assert channel.max() < 255.5


def test_the_actor_is_in_its_box_and_only_during_the_action():
    script = _script(appearance="Violet")
    frames = draw_clip(script, size_px=96, seed=0)
    actor = _chroma(frames) > 28
    last_frame = script.first_frame + len(script.poses) - 1
    for index, mask in enumerate(actor):
        if script.first_frame <= index <= last_frame:
            rows, columns = np.nonzero(mask)
            box = script.boxes()[index - script.first_frame]
            found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            np.testing.assert_allclose(found, box, atol=2)
        else:
            assert not mask.any()


@pytest.mark.parametrize("num_frames", [16, 40, 100])
def test_the_action_fills_most_of_a_clip_but_not_all(num_frames):
    shares = [len(_script(clip=c, num_frames=num_frames).poses) / num_frames for c in range(50)]
    assert min(shares) > 0.6
    assert max(shares) < 0.9


def test_the_idle_distractor_keeps_clear_of_where_the_actor_is_at_home():
    for clip in range(50):
        script = _script(motion="Twist", clip=clip)
        home = _swing(script)[0, :2]
        assert np.linalg.norm(home - script.idler[:2]) > script.radius


def test_optical_flow_tells_sway_from_bounce():
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    for motion, stronger in (("Sway", 0), ("Bounce", 1)):
        script = _script(motion=motion)
        luma = draw_clip(script, size_px=96, seed=0)[..., 0]
        speeds = []
        for index, box in enumerate(script.boxes().astype(int)[:-1], start=script.first_frame):
            flow = estimator.calc(luma[index], luma[index + 1], np.empty(0, np.float32))
            inside = flow[box[1] + 5 : box[3] - 5, box[0] + 5 : box[2] - 5]
            speeds.append(np.abs(inside).mean(axis=(0, 1)))
        mean = np.mean(speeds, axis=0)
        assert mean[stronger] > 3 * mean[1 - stronger]


def test_a_group_shares_its_scene_across_classes():
    """Whatever a network learns of the scenes, it learns nothing of the class."""
    palettes = {}
    for group in (1, 2):
        for motion in ("Sway", "Twist"):
            frames = draw_clip(_script(motion=motion, group=group), size_px=96, seed=0)
            palettes[group, motion] = np.median(frames[..., 1:], axis=(0, 1, 2))
    np.testing.assert_allclose(palettes[1, "Sway"], palettes[1, "Twist"], atol=2)
    assert np.abs(palettes[1, "Sway"] - palettes[2, "Sway"]).max() > 4
