from dataclasses import replace

import numpy as np
import pytest

from inversefacenet.camera import Placement
from inversefacenet.colour import srgb_decode
from inversefacenet.face_patch import overlap
from inversefacenet.landmarks import Face
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render
from training.calibration_samples import GOOD, kinds_of
from training.failures import FAILURES, HARMLESS, Subject
from training.failures.drawing import Layer
from training.failures.hands import HANDS
from training.failures.solids import Solid, lit, skin_reflectance

ALL = [(family, kind) for family, kinds in FAILURES.items() for kind in kinds]


@pytest.fixture(scope="module")
def subject(synthetic_model):
    """A rendered face in the middle of a mottled photo."""
    parameters = Parameters.neutral()
    placement = render(synthetic_model, parameters, 80).placement.then(Placement(1.0, (60.0, 50.0)))
    rendering = render(synthetic_model, parameters, placement=placement, shape=(180, 200))
    mottled = np.random.default_rng(1).integers(60, 120, (180, 200, 3)).astype(np.uint8)
    image = np.where(rendering.mask[..., None], rendering.image, mottled)
    low, high = rendering.landmarks.min(axis=0), rendering.landmarks.max(axis=0)
    box = tuple(float(edge) for edge in (*low, *high))
    return Subject(image, Face(box, 1.0, rendering.landmarks), parameters, placement, synthetic_model)


def make(maker, subject, seed):
    return maker(subject, np.random.default_rng(seed))


@pytest.mark.parametrize(("family", "kind"), [*ALL, *((GOOD, kind) for kind in HARMLESS)])
def test_a_kind_repeats_itself_and_leaves_the_photo_alone(subject, family, kind):
    before = subject.image.copy()
    maker = HARMLESS[kind] if family == GOOD else FAILURES[family][kind]
    case, again, other = (make(maker, subject, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(case.image, again.image)
    assert (case.box, case.known, case.faceless) == (again.box, again.known, again.faceless)
    assert case.image.shape == subject.image.shape
    assert case.image.dtype == np.uint8
    # Mirroring is all that leaves nothing to chance.
    changed = (case.image != other.image).any() or case.box != other.box
    assert changed or kind == "mirrored"
    np.testing.assert_array_equal(subject.image, before)


@pytest.mark.parametrize("kind", FAILURES["occlusions"])
def test_occluders_hide_a_part_of_the_face(subject, kind):
    layer = Layer(subject)
    layer.polygon([(float(x), float(y)) for x, y in subject.face.landmarks[[0, 8, 16, 24, 19]]])
    face = layer.opacity() > 0.5
    hidden = []
    for seed in range(6):
        case = make(FAILURES["occlusions"][kind], subject, seed)
        off = np.abs(case.image.astype(int) - subject.image).max(axis=2) > 8
        hidden.append(off[face].mean())
        assert case.known == subject.face.box
    assert 0.1 < np.mean(hidden) < 0.98


@pytest.mark.parametrize("kind", [kind for kind in HARMLESS if kind != "shadowed"])
def test_the_harmless_keeps_the_face(subject, kind):
    case = make(HARMLESS[kind], subject, 3)
    assert case.box is None
    picture = case.image[:, ::-1] if kind == "mirrored" else case.image
    left, top, right, bottom = (int(edge) for edge in subject.face.box)
    a, b = (one[top:bottom, left:right].astype(float).mean(axis=2) for one in (picture, subject.image))
    # Spectacles and crumbs hide a little of it, all else changes all of it alike.
    hiding = kind in ("spectacled", "detailed")
    assert (np.abs(a - b) < 25).mean() > 0.7 if hiding else np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.6


def test_a_shadow_darkens_a_part_of_the_photo_and_changes_nothing_else(subject):
    before = srgb_decode(subject.image / 255.0)
    for seed in range(4):
        after = srgb_decode(make(HARMLESS["shadowed"], subject, seed).image / 255.0)
        share = (after / np.maximum(before, 0.02))[before.min(axis=2) > 0.02]
        assert share.max() < 1.2  # rounding of dark pixels
        assert 0.2 < np.quantile(share, 0.02) < 0.8


@pytest.mark.parametrize("kind", HANDS)
def test_hands_have_the_faces_own_skin_in_its_own_light(subject, kind):
    """Whatever light the reconstruction tells, a limb that faces the viewer has the cheeks' colour."""
    cool = replace(subject.parameters, illumination=subject.parameters.illumination * np.float32([0.5, 1, 2]))
    skins = []
    for parameters in (subject.parameters, cool):
        one = replace(subject, parameters=parameters)
        solid = Solid(one)
        solid.limb((60.0, 90.0), (140.0, 90.0), (20.0, 20.0))
        reflectance = skin_reflectance(one, np.random.default_rng(0))
        skins.append(solid.shaded(reflectance)[90, 100])
    np.testing.assert_allclose(skins[0], skins[1], rtol=0.02)
    hidden = make(HANDS[kind], subject, 2).image.astype(int) - subject.image
    assert (np.abs(hidden).max(axis=2) > 8).mean() > 0.03


def test_limbs_are_round_and_lie_before_one_another(subject):
    solid = Solid(subject)
    solid.limb((50.0, 60.5), (150.0, 60.5), (10.0, 10.0))
    assert solid.height[60, 100] == pytest.approx(10, abs=0.1)
    assert solid.height[66, 100] == pytest.approx(8, abs=0.2)
    assert solid.opacity()[60, 100] > 0.99
    assert solid.opacity()[75, 100] < 0.01
    assert not np.isfinite(solid.height[90, 100])
    solid.limb((100.0, 40.0), (100.0, 80.0), (5.0, 5.0), lift=8.0)
    assert solid.height[60, 100] == pytest.approx(13, abs=0.2)
    # Light from above falls on the upper side.
    above = np.zeros((9, 3), np.float32)
    above[0], above[1] = 0.5, 0.3
    lamp = replace(subject, parameters=replace(subject.parameters, illumination=above))
    light = lit(np.where(np.isfinite(solid.height), solid.height, 0), lamp)[..., 0]
    assert light[54, 130] > light[60, 130] > light[67, 130]


@pytest.mark.parametrize("kind", ["background", "shifted", "scaled"])
def test_wrong_boxes_miss_the_face(subject, kind):
    for seed in range(10):
        case = make(FAILURES["wrong places"][kind], subject, seed)
        assert overlap(case.box, subject.face.box) < 0.45


def test_the_own_frame_of_a_face(subject):
    marks = subject.face.landmarks.astype(float)
    left, right, middle = subject.at([(-0.5, 0.0), (0.5, 0.0), (0.0, 0.0)])
    np.testing.assert_allclose(np.subtract(right, left), marks[45] - marks[36], atol=1e-4)
    np.testing.assert_allclose(middle, (marks[36:42].mean(0) + marks[42:48].mean(0)) / 2, atol=1e-4)
    assert 0.7 < (marks[8] - middle) @ [0, 1] / subject.unit < 2


def test_all_kinds_come_in_turn():
    done = [pair for number in range(120) for pair in kinds_of(number)]
    assert set(done) == {*ALL, *((GOOD, kind) for kind in HARMLESS)}
    counts = [done.count(("occlusions", kind)) for kind in FAILURES["occlusions"]]
    assert max(counts) - min(counts) <= 1
    assert all(len(kinds_of(number)) == 3 and kinds_of(number)[0][0] == GOOD for number in range(20))
