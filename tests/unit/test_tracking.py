"""One face followed through videos of rendered faces: steady, without lag, and lost in time."""

import pickle

import numpy as np
import pytest
from tracking_support import Tripod, box_around, empty, make, person, run, scene, turned

from benchmarks.tracking import calm_frames, jitter, lag
from inversefacenet.errors import ImageError, InputError
from inversefacenet.parameters import ILLUMINATION, REFLECTANCE, SHAPE, Parameters
from inversefacenet.reconstruction import Reconstructor
from inversefacenet.tracking import Tracker, TrackingOptions, TrackingSteps, TrackState
from inversefacenet.tracking.identity import Identity, SkinTone
from inversefacenet.tracking.motion import Motion, face_roll, face_width, nearest_turn
from inversefacenet.tracking.one_euro import Filtered, OneEuro
from inversefacenet.tracking.state import difference, thumbnail

RATE = 30.0


@pytest.fixture(scope="module")
def still(synthetic_model):
    """A face that doesn't move."""
    return scene(synthetic_model, turned(person(1)))


def centres(found):
    return np.array([one.reconstruction.face.landmarks[17:48].mean(axis=0) for one in found])


def test_a_still_face_stands_still(synthetic_model, still):
    tracker, tripod = make(synthetic_model)
    found = run(tracker, tripod, [still] * 40)
    assert [one.state for one in found] == ["detected"] + ["tracking"] * 39
    assert (tripod.searched, tripod.followed) == (1, 39)
    raw = np.stack([one.landmarks for one in found])
    smooth = np.stack([one.reconstruction.face.landmarks for one in found])
    assert jitter(smooth[10:]) < 0.5 * jitter(raw[10:])
    assert np.abs(smooth[-1] - still.landmarks).mean() < np.abs(raw - still.landmarks).mean()
    for group, share in ((slice(0, 3), 0.65), (slice(131, 195), 0.7), (ILLUMINATION, 0.7)):
        alone = np.stack([one.answer.parameters.vector()[group] for one in found])[10:, :, None]
        tracked = np.stack([one.reconstruction.parameters.vector()[group] for one in found])[10:, :, None]
        assert jitter(tracked) < share * jitter(alone)


def test_identity_settles(synthetic_model, still):
    tracker, tripod = make(synthetic_model)
    found = run(tracker, tripod, [still] * 25)
    truth = still.parameters.vector()
    for group in (SHAPE, REFLECTANCE):
        off = [np.abs(one.reconstruction.parameters.vector()[group] - truth[group]).mean() for one in found]
        assert off[-1] < 0.35 * off[0]
        steps = np.diff([one.reconstruction.parameters.vector()[group] for one in found], axis=0)
        sizes = np.linalg.norm(steps, axis=1)
        assert sizes[-5:].mean() < 0.2 * sizes[:3].mean()
    assert {one.person for one in found} == {1}


def test_a_moving_face_is_followed_without_lag(synthetic_model):
    times = np.arange(60) / RATE
    way = 60 + 40 * np.sin(2 * np.pi * 0.8 * times)
    yaw = 0.4 * np.sin(2 * np.pi * 0.8 * times)
    mouth = 1.5 * np.sin(2 * np.pi * 2.0 * times)
    theta = person(2)
    scenes = [
        scene(synthetic_model, turned(theta, float(a), float(m)), float(x))
        for x, a, m in zip(way, yaw, mouth, strict=True)
    ]
    tracker, tripod = make(synthetic_model)
    found = run(tracker, tripod, scenes)
    assert tripod.searched == 1
    frame = 1000 / RATE
    true_centre = np.array([one.landmarks[17:48].mean(axis=0)[0] for one in scenes])
    assert abs(lag(centres(found)[:, 0], true_centre, times)) < 0.3 * frame
    angles = np.array([one.reconstruction.parameters.rotation[0] for one in found])
    assert abs(lag(angles, yaw, times)) < 0.3 * frame
    mouths = np.array([one.reconstruction.parameters.expression[0] for one in found])
    assert abs(lag(mouths, mouth, times)) < 0.5 * frame
    assert np.abs(centres(found)[:, 0] - true_centre).max() < 2.5


def test_a_jump_is_followed_at_once(synthetic_model):
    """A face that starts to move fast must not trail behind."""
    theta = turned(person(2))
    way = [20.0] * 8 + [32.0, 56.0, 80.0, 104.0]
    scenes = [scene(synthetic_model, theta, x) for x in way]
    tracker, tripod = make(synthetic_model)
    found = run(tracker, tripod, scenes)
    off = [
        np.abs(one.reconstruction.face.landmarks - true.landmarks).mean()
        for one, true in zip(found, scenes, strict=True)
    ]
    assert max(off[8:]) < 4 < 12
    assert tripod.searched == 1


def test_a_lost_face_is_said_to_be_lost_and_found_again(synthetic_model, still):
    tracker, tripod = make(synthetic_model, search_seconds=0.2)
    found = run(tracker, tripod, [still] * 10 + [empty()] * 12 + [still] * 8)
    states = [one.state for one in found]
    assert states[:10] == ["detected"] + ["tracking"] * 9
    assert states[10:22] == ["lost"] * 12
    again = states.index("detected", 10)
    assert 22 <= again <= 22 + 6, "it is searched every fifth of a second"
    assert states[again + 1 :] == ["tracking"] * (len(states) - again - 1)
    lost = found[12]
    assert (lost.reconstruction, lost.answer, lost.landmarks, lost.person) == (None, None, None, 0)
    searches = sum(one.searched for one in found[10:22])
    assert searches == tripod.searched - sum(one.searched for one in found[:10] + found[22:])
    assert 2 <= searches <= 4
    # The same person: what is known of them goes on.
    assert found[-1].person == 1
    assert found[-1].next.identity.weight > found[9].next.identity.weight


def test_another_person_begins_anew(synthetic_model):
    one = scene(synthetic_model, turned(person(3)))
    two = scene(synthetic_model, turned(person(4)), 90.0, level=120)
    tracker, tripod = make(synthetic_model)
    found = run(tracker, tripod, [one] * 8 + [two] * 10)
    assert found[8].state == "detected", "the cut is seen"
    assert [found[7].person, found[8].person, found[-1].person] == [1, 2, 2]
    shape = found[-1].reconstruction.parameters.shape
    assert np.abs(shape - two.parameters.shape).mean() < 0.01
    # The first frame after the cut shows the second person, not a mixture.
    assert np.abs(found[8].reconstruction.parameters.shape - two.parameters.shape).mean() < 0.05


def test_somebody_who_takes_the_place_of_another_is_noticed(synthetic_model):
    """Without a cut and at the same place, as behind a head that passes."""
    one, two = (scene(synthetic_model, turned(person(seed, spread=0.8))) for seed in (3, 4))
    tracker, tripod = make(synthetic_model, cut=1000.0)
    found = run(tracker, tripod, [one] * 8 + [two] * 15)
    people = [frame.person for frame in found]
    assert people[:8] == [1] * 8
    assert 11 < people.index(2) <= 18
    assert np.abs(found[-1].reconstruction.parameters.shape - two.parameters.shape).mean() < 0.03


def test_a_few_strange_answers_change_nobody(synthetic_model, still):
    odd = scene(synthetic_model, turned(person(9, spread=0.8)))
    odd.image, odd.landmarks = still.image, still.landmarks
    tracker, tripod = make(synthetic_model)
    before = run(tracker, tripod, [still] * 8)[-1].reconstruction.parameters.shape
    run(tracker, tripod, [odd] * 3, start=8 / RATE)
    after = run(tracker, tripod, [still] * 3, start=11 / RATE)[-1]
    assert after.person == 1
    assert np.abs(after.reconstruction.parameters.shape - before).max() < 0.03


def test_a_cut_to_the_same_place_is_searched(synthetic_model, still):
    tracker, tripod = make(synthetic_model)
    brighter = scene(synthetic_model, still.parameters, level=90)
    found = run(tracker, tripod, [still] * 3 + [brighter] * 3)
    assert [one.state for one in found] == 2 * ["detected", "tracking", "tracking"]
    assert found[-1].person == 1, "it is the same face"


def test_a_pause_is_no_motion(synthetic_model, still):
    tracker, tripod = make(synthetic_model, gap_seconds=0.5)
    run(tracker, tripod, [still] * 3)
    tripod.scene = still
    assert tracker.track(still.image, 0.5).state == "tracking"
    assert tracker.track(still.image, 5.0).state == "detected"


def test_an_answer_that_isn_t_believed_is_searched_and_then_lost(synthetic_model, still):
    tracker, tripod = make(synthetic_model)
    run(tracker, tripod, [still] * 3)
    doubting, other = make(synthetic_model, least_confidence=1.0)
    doubting.state, other.scene = tracker.state, still
    result = doubting.track(still.image, 0.1)
    assert (result.state, other.followed, other.searched) == ("lost", 1, 1)


def test_a_followed_face_may_be_less_sure_than_a_found_one(synthetic_model, still):
    def steady(**options):
        exact = Tripod(noise=0.0, parameter_noise=0.0)
        exact.scene = still
        return Tracker(Reconstructor(exact, exact, synthetic_model), TrackingOptions(**options))

    trusting = steady(least_confidence=0.0)
    trusting.track(still.image, 0.0)
    known = trusting.state
    sure = trusting.track(still.image, 0.1).reconstruction.confidence
    assert 0 < sure < 1
    for least, followed in ((0.99 * sure**0.5, True), (1.01 * sure**0.5, False)):
        assert least > sure
        doubting = steady(least_confidence=least)
        doubting.state = known
        assert (doubting.track(still.image, 0.1).state == "tracking") is followed


def test_a_face_that_leaves_the_picture_is_lost(synthetic_model):
    theta = turned(person(5))
    tracker, tripod = make(synthetic_model)
    inside = scene(synthetic_model, theta, 30.0)
    run(tracker, tripod, [inside] * 3)
    tripod.scene = empty()
    gone = tracker.state
    far = Motion.start(inside.landmarks + np.float32(4000))
    tracker.state = TrackState(**{**vars(gone), "motion": far})
    assert tracker.track(inside.image, 0.2).state == "lost"


def test_a_detector_that_can_t_follow_searches_every_frame(synthetic_model, still):
    class Plain:
        def __init__(self, tripod):
            self.detect = tripod.detect

    tripod = Tripod()
    tracker = Tracker(
        Reconstructor(Plain(tripod), tripod, synthetic_model), TrackingOptions(least_confidence=0.0)
    )
    found = run(tracker, tripod, [still] * 3)
    assert [one.state for one in found] == ["detected"] * 3
    assert found[-1].next.identity.weight > found[0].next.identity.weight


def test_the_state_crosses_a_pipe_and_any_process_may_go_on(synthetic_model, still):
    tracker, tripod = make(synthetic_model)
    run(tracker, tripod, [still] * 5)
    stored = pickle.dumps(tracker.state)
    assert len(stored) < 20_000
    other, twin = make(synthetic_model)
    other.state = pickle.loads(stored)
    twin.scene = still
    result = other.track(still.image, 5 / RATE)
    assert (result.state, result.person, twin.searched) == ("tracking", 1, 0)
    assert result.next.identity.weight > tracker.state.identity.weight
    other.reset()
    assert other.track(still.image, 0.0).state == "detected"


def test_steps_leave_the_state_alone(synthetic_model, still):
    tracker, tripod = make(synthetic_model)
    run(tracker, tripod, [still] * 5)
    before = pickle.dumps(tracker.state)
    tripod.scene = still
    steps = TrackingSteps(
        Reconstructor(tripod, tripod, synthetic_model), TrackingOptions(least_confidence=0.0)
    )
    pending = steps.begin(still.image, 0.3, tracker.state)
    steps.proceed(pending, tripod.infer(np.zeros((1, 240, 240, 3), np.uint8))[0])
    assert pickle.dumps(tracker.state) == before


@pytest.mark.parametrize("seconds", [0.05, float("nan"), float("inf")])
def test_times_never_fall(synthetic_model, still, seconds):
    tracker, tripod = make(synthetic_model)
    run(tracker, tripod, [still] * 3, start=1.0)
    with pytest.raises(InputError, match="never falls"):
        tracker.track(still.image, seconds)
    assert tracker.track(still.image, 1.0 + 2 / RATE).state == "tracking", "two frames may have one time"


def test_settled_skin_keeps_the_face_as_bright_as_it_is(synthetic_model):
    tone = SkinTone.of(synthetic_model)
    theta = Parameters.neutral().vector()
    mean = Identity.of(Parameters.from_vector(theta), 1.0)
    theta[REFLECTANCE] = 0.5 * np.random.default_rng(1).normal(size=128)
    answer = Parameters.from_vector(theta)
    relit = tone.relit(answer, mean)
    before = tone.colour(answer.reflectance) * answer.illumination[0]
    after = tone.colour(mean.reflectance) * relit.illumination[0]
    np.testing.assert_allclose(after, before, rtol=1e-5)
    painted = synthetic_model.painted_vertices
    colours = synthetic_model.reflectance(answer.reflectance)[painted].mean(axis=0)
    np.testing.assert_allclose(tone.colour(answer.reflectance), colours, rtol=1e-4)


def test_sure_frames_count_more():
    sure, unsure = Parameters.neutral(), turned(person(6))
    identity = Identity.of(sure, 1.0).settled(unsure, 0.1, memory=100.0)
    np.testing.assert_allclose(identity.shape, unsure.shape * 0.01 / 1.01, rtol=1e-4)
    assert Identity.of(sure, float("nan")).weight == 1
    long = Identity.of(sure, 1.0)
    for _ in range(50):
        long = long.settled(sure, 1.0, memory=10.0)
    moved = long.settled(unsure, 1.0, memory=10.0)
    np.testing.assert_allclose(moved.shape, unsure.shape / 10, rtol=1e-4)


def test_the_filter_is_a_low_pass_whose_cutoff_grows_with_speed():
    step = Filtered.start(np.zeros((1, 1)))
    slow = step.advance(OneEuro(1.0, 0.0), np.ones((1, 1)), 1 / 30)
    assert slow.value[0, 0] == pytest.approx(0.1732, abs=1e-4)
    fast = step.advance(OneEuro(1.0, 1.0), np.ones((1, 1)), 1 / 30)
    assert fast.value[0, 0] > slow.value[0, 0] + 0.2
    # Twice the time in one step or in two comes to about the same.
    once = step.advance(OneEuro(1.0, 0.0), np.ones((1, 1)), 2 / 30).value[0, 0]
    twice = slow.advance(OneEuro(1.0, 0.0), np.ones((1, 1)), 1 / 30).value[0, 0]
    assert once == pytest.approx(twice, abs=0.03)
    points = Filtered.start(np.zeros((2, 2))).advance(
        OneEuro(1.0, 50.0), np.array([[1.0, 0], [0.01, 0]]), 1 / 30
    )
    assert points.value[0, 0] > 0.5 > 20 * points.value[1, 0], "each row has a speed of its own"


def test_landmarks_come_apart_and_together(still):
    motion = Motion.start(still.landmarks)
    np.testing.assert_allclose(motion.landmarks(), still.landmarks, atol=1e-3)
    box, roll = motion.expected(0.1)
    assert box == pytest.approx(box_around(still.landmarks))
    assert abs(roll) < 0.05
    moved = motion.advance(TrackingOptions(), still.landmarks + np.float32([6, 0]), 0.1)
    assert moved.velocity == pytest.approx([30, 0], abs=1e-3)
    expected = moved.expected(0.1)[0]
    assert expected[0] == pytest.approx(box[0] + 6 + 3, abs=0.01)


def test_a_head_may_turn_over(still):
    """The roll passes half a turn without a jump."""
    centre = still.landmarks.mean(axis=0)
    motion = None
    for degrees in np.arange(150, 215, 5.0):
        angle = np.radians(degrees)
        matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        points = (still.landmarks - centre) @ matrix.T + centre
        motion = (
            Motion.start(points) if motion is None else motion.advance(TrackingOptions(), points, 1 / RATE)
        )
    assert np.linalg.norm(motion.landmarks() - points, axis=1).mean() < 0.1 * face_width(points)
    assert face_roll(points) < 0
    assert nearest_turn(-3.0, 3.0) == pytest.approx(2 * np.pi - 3.0)


def test_thumbnails_tell_shots_apart(still):
    assert thumbnail(still.image).shape == (16, 16, 3)
    assert difference(thumbnail(still.image), thumbnail(still.image)) == 0
    assert difference(thumbnail(empty(30).image), thumbnail(empty(80).image)) == 50


@pytest.mark.parametrize(
    "wrong",
    [
        {"least_confidence": 1.1},
        {"memory": 0.5},
        {"search_seconds": -1.0},
        {"gap_seconds": float("nan")},
        {"cut": 0.0},
        {"stranger": float("nan")},
    ],
)
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        TrackingOptions(**wrong)


@pytest.mark.parametrize("wrong", [(0.0, 1.0), (1.0, -1.0), (float("nan"), 1.0), (1.0, 1.0, 0.0)])
def test_filters_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InputError):
        OneEuro(*wrong)


def test_the_measures_of_the_benchmark():
    steady = np.cumsum(np.ones((10, 3, 2)), axis=0)
    assert jitter(steady) == 0
    shaken = steady.copy()
    shaken[::2] += 1.0
    assert jitter(shaken) == pytest.approx(2 * np.sqrt(2))
    times = np.arange(100) / RATE
    signal = np.sin(2 * times)
    assert lag(np.sin(2 * (times - 0.05)), signal, times) == pytest.approx(50, abs=2)
    assert lag(signal, signal, times) == pytest.approx(0)
    points = np.tile(np.random.default_rng(0).uniform(0, 100, (68, 2)), (20, 1, 1))
    points[10:] += 50
    assert calm_frames(points).tolist() == [True] * 7 + [False] * 6 + [True] * 7


def test_a_picture_that_is_none_is_refused(synthetic_model):
    tracker, tripod = make(synthetic_model)
    with pytest.raises(ImageError, match="8-bit RGB"):
        tracker.track(np.zeros((0, 4, 3), np.uint8), 0.0)
    assert tripod.searched == 0
