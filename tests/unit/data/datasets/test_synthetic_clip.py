from itertools import product

import numpy as np
import pytest
from scipy.stats import kstest, uniform

from stpa.config import SyntheticConfig
from stpa.data.datasets.synthetic_clip import APPEARANCES, MOTIONS, ClipScript, Mover
from tests.unit.data.datasets.generated import DEMO, HARD, distractor_of, script_of

both_settings = pytest.mark.parametrize("settings", [DEMO, HARD], ids=["demo", "hard"])

VIEW = (
    *("x", "y", "angle", "radius", "first frame", "length"),
    *("distractor's x from the actor", "distractor's y from the actor", "distractor's angle"),
)


def _swing(script: ClipScript, mover: Mover) -> np.ndarray:
    """Return a mover's x, y and angle in the scene, the camera's shake taken out."""
    poses = mover.poses.copy()
    poses[:, :2] -= script.camera[mover.first_frame : mover.first_frame + len(poses)]
    return poses


def _view(script: ClipScript, random: np.random.Generator) -> list[float]:
    """Return what a random frame of the action shows, as VIEW says; NaN for no distractor."""
    actor, distractor = script.actor, script.distractor
    step = random.integers(len(actor.poses))
    pose, other = actor.poses[step], np.full(3, np.nan)
    if distractor is not None:
        step += actor.first_frame - distractor.first_frame
        if 0 <= step < len(distractor.poses):
            other = distractor.poses[step] - [*pose[:2], 0]
    return [*pose, actor.radius, actor.first_frame, len(actor.poses), *other]


def _homes(settings: SyntheticConfig, motion: str, num_clips: int) -> np.ndarray:
    """Return the middle of what the motion swings about, as a share of the frame's side."""
    settings = settings.model_copy(update={"action_share": [1, 1]})  # swings of more than a turn
    scripts = [script_of(motion=motion, clip=clip, settings=settings) for clip in range(num_clips)]
    swings = [_swing(each, each.actor)[:, MOTIONS.index(motion)] for each in scripts]
    return np.array([(swing.min() + swing.max()) / 2 for swing in swings]) / settings.size_px


def _together(script: ClipScript) -> tuple[np.ndarray, np.ndarray]:
    """Return the poses of actor and distractor in the frames in which both are there."""
    movers = (script.actor, distractor_of(script))
    start = max(mover.first_frame for mover in movers)
    end = max(start, min(mover.first_frame + len(mover.poses) for mover in movers))
    actor, distractor = (
        mover.poses[start - mover.first_frame : end - mover.first_frame] for mover in movers
    )
    return actor, distractor


@both_settings
@pytest.mark.parametrize(("motion", "moving"), [("Sway", 0), ("Bounce", 1), ("Twist", 2)])
def test_a_motion_moves_its_own_degree_of_freedom_alone(settings, motion, moving):
    script = script_of(motion=motion, settings=settings)
    spans = np.ptp(_swing(script, script.actor), axis=0)
    assert spans[moving] > 1
    np.testing.assert_allclose(np.delete(spans, moving), 0, atol=1e-9)


@both_settings
@pytest.mark.parametrize("motion", MOTIONS)
def test_a_motion_keeps_its_pace_but_where_it_turns(settings, motion):
    script = script_of(motion=motion, settings=settings)
    steps = np.abs(np.diff(_swing(script, script.actor)[:, MOTIONS.index(motion)]))
    assert (np.isclose(steps, steps.max())).mean() > 0.7


@pytest.fixture(scope="module")
def views() -> dict[tuple[str, str], np.ndarray]:
    """Return views of 600 clips per settings and motion, whose appearances take turns."""
    found = {}
    for (name, settings), motion in product({"demo": DEMO, "hard": HARD}.items(), MOTIONS):
        random = np.random.default_rng(0)
        found[name, motion] = np.array(
            [
                _view(script_of(appearance, motion, clip % 10, clip, settings), random)
                for clip, appearance in enumerate(200 * list(APPEARANCES))
            ]
        ).T
    return found


@pytest.mark.parametrize("shown", VIEW)
@pytest.mark.parametrize("name", ["demo", "hard"])
def test_what_a_single_frame_shows_has_one_distribution_for_all_motions(views, name, shown):
    samples = [views[name, motion][VIEW.index(shown)] for motion in MOTIONS]
    samples = [sample[~np.isnan(sample)] for sample in samples]
    if name == "demo" and shown.startswith("distractor"):
        assert not any(map(len, samples))
        return
    assert min(map(len, samples)) > 350
    for other in samples[1:]:
        assert kstest(samples[0], other).pvalue > 0.01


@pytest.mark.parametrize("num_frames", [16, 40, 100])
@both_settings
def test_the_action_lasts_for_the_share_of_the_frames_that_is_asked_for(settings, num_frames):
    shares = [
        len(script_of(clip=clip, settings=settings, num_frames=num_frames).actor.poses) / num_frames
        for clip in range(50)
    ]
    low, high = settings.action_share
    half_a_frame = 0.51 / num_frames
    assert low - half_a_frame <= min(shares) < low + 0.05
    assert high - 0.05 < max(shares) <= high + half_a_frame


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_small_actor_s_box_stays_in_the_frame_through_its_swings(motion):
    boxes = np.concatenate(
        [script_of(motion=motion, clip=clip, settings=HARD).actor.boxes() for clip in range(300)]
    )
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) / HARD.size_px**2
    assert boxes.min() >= 0
    assert boxes.max() <= HARD.size_px
    assert 1 / 40 <= area.min() < 1 / 35
    assert 1 / 11 < area.max() <= 1 / 10


@pytest.mark.parametrize("motion", ["Sway", "Bounce"])
def test_an_actor_that_may_be_anywhere_is_at_all_places_alike(motion):
    """All at which its box, its swing and the camera's shake, 0.03, stay in the frame."""
    margin = 0.08 + 0.08 * 0.13 / 0.17 + 0.03
    settings = HARD.model_copy(update={"actor_radius": [0.08, 0.08]})
    homes = _homes(settings, motion, 2000)
    assert kstest(homes, uniform(margin, 1 - 2 * margin).cdf).pvalue > 0.01


@pytest.mark.parametrize("motion", ["Sway", "Bounce"])
def test_a_small_actor_in_the_centre_is_near_it(motion):
    homes = _homes(HARD.model_copy(update={"home": "centre"}), motion, 100)
    assert 0.14 < np.abs(homes - 0.5).max() < 0.17


def test_the_gray_disc_keeps_clear_of_where_the_actor_is_at_home():
    for clip in range(50):
        script = script_of(motion="Twist", clip=clip)
        home = _swing(script, script.actor)[0, :2]
        assert np.linalg.norm(home - script.idler[:2]) > script.actor.radius


class TestDistractor:
    def test_it_is_there_on_demand_alone(self):
        assert script_of(settings=HARD, distractor="none").distractor is None

    def test_it_is_larger_than_any_actor(self):
        for clip in range(50):
            distractor = distractor_of(script_of(clip=clip, settings=HARD))
            assert distractor.radius >= HARD.actor_radius[1] * HARD.size_px

    def test_it_moves_in_all_three_ways_at_once(self):
        for clip in range(20):
            script = script_of(clip=clip, settings=HARD)
            steps = np.abs(np.diff(_swing(script, distractor_of(script)), axis=0))
            assert (steps > 0.5 * steps.max(axis=0)).mean(axis=0).min() > 0.7

    def test_it_is_there_for_a_time_of_its_own_of_half_a_clip_or_longer(self):
        scripts = [script_of(clip=clip, settings=HARD) for clip in range(200)]
        lengths = np.array([len(distractor_of(script).poses) for script in scripts])
        assert lengths.min() >= HARD.num_frames / 2
        assert lengths.max() > 0.95 * HARD.num_frames
        starts = np.array([distractor_of(script).first_frame for script in scripts])
        assert (starts + lengths <= HARD.num_frames).all()
        actors = [script.actor.first_frame for script in scripts]
        assert abs(np.corrcoef(starts, actors)[0, 1]) < 0.15

    def test_its_looks_pace_and_time_are_the_same_for_all_classes(self):
        first, *others = (
            distractor_of(script_of(appearance, motion, clip=5, settings=HARD))
            for appearance, motion in product(APPEARANCES, MOTIONS)
        )
        for other in others:
            assert (other.first_frame, other.radius) == (first.first_frame, first.radius)
            np.testing.assert_array_equal(other.poses[:, 2], first.poses[:, 2])

    def test_it_seldom_meets_the_actor(self):
        met = []
        for clip in range(300):
            script = script_of(clip=clip, settings=HARD)
            actor, distractor = _together(script)
            distance = np.linalg.norm(actor[:, :2] - distractor[:, :2], axis=1)
            met.extend(distance < script.actor.radius + distractor_of(script).radius)
        assert np.mean(met) < 0.1
