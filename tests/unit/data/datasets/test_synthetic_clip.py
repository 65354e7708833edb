import numpy as np
import pytest
from scipy.stats import kstest

from stpa.data.datasets.synthetic_clip import MOTIONS, ClipScript
from tests.unit.data.datasets.generated import script_of


def _swing(script: ClipScript) -> np.ndarray:
    """Return the actor's x, y and angle in the scene, the camera's shake taken out."""
    poses = script.actor.poses.copy()
    poses[:, :2] -= script.camera[script.actor.first_frame : script.actor.first_frame + len(poses)]
    return poses


@pytest.mark.parametrize(("motion", "moving"), [("Sway", 0), ("Bounce", 1), ("Twist", 2)])
def test_a_motion_moves_its_own_degree_of_freedom_alone(motion, moving):
    spans = np.ptp(_swing(script_of(motion=motion)), axis=0)
    assert spans[moving] > 1
    np.testing.assert_allclose(np.delete(spans, moving), 0, atol=1e-9)


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_motion_keeps_its_pace_but_where_it_turns(motion):
    steps = np.abs(np.diff(_swing(script_of(motion=motion))[:, MOTIONS.index(motion)]))
    pace = steps.max()
    assert (np.isclose(steps, pace)).mean() > 0.7


@pytest.mark.parametrize("freedom", range(3), ids=["x", "y", "angle"])
def test_a_single_pose_has_one_distribution_for_all_motions(freedom):
    random = np.random.default_rng(0)
    samples = {
        motion: [
            random.choice(script_of(motion=motion, group=clip % 10, clip=clip).actor.poses)[freedom]
            for clip in range(600)
        ]
        for motion in MOTIONS
    }
    for motion in MOTIONS[1:]:
        assert kstest(samples[MOTIONS[0]], samples[motion]).pvalue > 0.01


@pytest.mark.parametrize("num_frames", [16, 40, 100])
def test_the_action_fills_most_of_a_clip_but_not_all(num_frames):
    shares = [
        len(script_of(clip=c, num_frames=num_frames).actor.poses) / num_frames for c in range(50)
    ]
    assert min(shares) > 0.6
    assert max(shares) < 0.9


def test_the_idle_distractor_keeps_clear_of_where_the_actor_is_at_home():
    for clip in range(50):
        script = script_of(motion="Twist", clip=clip)
        home = _swing(script)[0, :2]
        assert np.linalg.norm(home - script.idler[:2]) > script.actor.radius
