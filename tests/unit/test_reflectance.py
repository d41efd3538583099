"""The statistical reflectance, built on a small face made of an ellipsoid, two eyes and a mouth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import identity

from training.face_model.painting import Painting, paint
from training.face_model.reflectance import Reflectance, build_reflectance, principal_components
from training.face_model.skin import (
    LUMINANCE,
    cielab,
    individual_typology_angle,
    melanin_of_luminance,
    skin_reflectance,
)
from training.face_model.soft_shapes import polyline_distance, smoothstep
from training.face_model.surface_field import surface_field
from training.face_model.template import EYE, MOUTH, SKIN, Template

# The landmarks' places on the front of an average face (x, y in millimetres), iBUG order; the subject's
# right half, of which the left one is the mirror image.
_MIDDLE = {8: -82, 27: 29, 28: 16, 29: 4, 30: -9, 33: -21, 51: -30, 57: -52, 62: -39, 66: -39}
_RIGHT = {
    (0, 16): (-66, 25), (1, 15): (-66, 12), (2, 14): (-65, -4), (3, 13): (-62, -20), (4, 12): (-58, -37),
    (5, 11): (-50, -56), (6, 10): (-37, -69), (7, 9): (-18, -78), (17, 26): (-51, 39), (18, 25): (-40, 45),
    (19, 24): (-32, 46), (20, 23): (-20, 43), (21, 22): (-12, 40), (31, 35): (-14, -16),
    (32, 34): (-8, -18), (36, 45): (-42, 27), (37, 44): (-34, 33), (38, 43): (-26, 33),
    (39, 42): (-18, 26), (40, 47): (-26, 22), (41, 46): (-35, 22), (48, 54): (-23, -39),
    (49, 53): (-14, -33), (50, 52): (-6, -29), (59, 55): (-15, -48), (58, 56): (-6, -50),
    (60, 64): (-21, -39), (61, 63): (-9, -39), (67, 65): (-8, -39),
}  # fmt: skip


def _grid(x: np.ndarray, y: np.ndarray, depth: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices and counter-clockwise triangles of a grid (rows of rising y)."""
    rows, columns = depth.shape
    vertices = np.stack([np.tile(x, rows), np.repeat(y, columns), depth.ravel()], axis=1)
    number = first + np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]
    quads = np.stack([a, b, c, d], axis=-1).reshape(-1, 4)
    return vertices, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def _small_template() -> Template:
    x, y = np.arange(-70.0, 71, 3.5), np.arange(-90.0, 91, 3.5)
    bulge = 1 - (x[None, :] / 80) ** 2 - (y[:, None] / 105) ** 2
    patches = [(*_grid(x, y, 70 * np.sqrt(bulge.clip(0.02)), 0), SKIN)]
    for centre in (-30.0, 30.0):
        step = np.arange(-11.0, 12, 1.0)
        cap = np.sqrt((14.0**2 - step[None, :] ** 2 - step[:, None] ** 2).clip(1.0))
        eye = _grid(step + centre, step * 0.4 + 27, cap + 55, sum(len(p[0]) for p in patches))
        patches.append((*eye, EYE))
    mouth = _grid(
        np.arange(-15.0, 16, 5),
        np.arange(-42.0, -35, 3),
        np.full((3, 7), 20.0),
        sum(len(p[0]) for p in patches),
    )
    patches.append((*mouth, MOUTH))
    vertices = np.concatenate([p[0] for p in patches])
    part = np.concatenate([np.full(len(p[0]), p[2], np.uint8) for p in patches])
    vertices -= vertices[part == SKIN].mean(axis=0) * [0, 0, 1]
    places = np.zeros((68, 2))
    for index, height in _MIDDLE.items():
        places[index] = [0, height]
    for (right, left), place in _RIGHT.items():
        places[right], places[left] = place, (-place[0], place[1])
    skin = np.flatnonzero(part == SKIN)
    apart = np.linalg.norm(places[:, None] - vertices[skin, :2], axis=-1)
    lips = np.exp(-((vertices[:, 0] / 20) ** 4) - ((vertices[:, 1] + 40) / 9) ** 4)
    zero = np.zeros(len(vertices))
    return Template(
        operator=identity(len(vertices), format="csr"),
        vertices=vertices,
        triangles=np.concatenate([p[1] for p in patches]).astype(np.int32),
        triangle_part=np.concatenate([np.full(len(p[1]), p[2], np.uint8) for p in patches]),
        vertex_part=part,
        uv=np.zeros((len(vertices), 2)),
        masks={"lips": lips, "eyelids": zero, "face": zero + 1, "inside_mouth": zero},
        landmarks=skin[apart.argmin(axis=1)].astype(np.int32),
    )


@pytest.fixture(scope="module")
def template() -> Template:
    return _small_template()


@pytest.fixture(scope="module")
def painting(template: Template) -> Painting:
    return paint(template)


@pytest.fixture(scope="module")
def model(template: Template) -> Reflectance:
    return build_reflectance(template, seed=3, samples=600)


@pytest.fixture(scope="module")
def faces(model: Reflectance) -> np.ndarray:
    """Reflectances of Gaussian draws, truncated at two standard deviations."""
    rng = np.random.default_rng(0)
    theta = rng.normal(size=(400, 128))
    while (outside := np.abs(theta) > 2).any():
        theta[outside] = rng.normal(size=outside.sum())
    offsets = (theta * model.sigma) @ model.basis.T
    return model.mean + offsets.reshape(len(theta), -1, 3)


def _spot(faces: np.ndarray, mask: np.ndarray) -> np.ndarray:
    assert mask.any()
    return faces[:, mask].mean(axis=1)


class TestSkin:
    def test_more_pigment_reflects_less(self) -> None:
        amounts = np.linspace(0, 6, 50)
        zero = np.zeros(50)
        assert (np.diff(skin_reflectance(amounts, zero, zero), axis=0) < 0).all()
        assert (np.diff(skin_reflectance(zero, amounts, zero)[:, 1]) < 0).all()
        assert (np.diff(skin_reflectance(zero, zero, amounts)[:, 2]) < 0).all()

    def test_worked_values(self) -> None:
        fair, deep = skin_reflectance(np.array([0.4, 2.5]), np.zeros(2), np.zeros(2))
        np.testing.assert_allclose(fair, [0.552, 0.337, 0.241], atol=6e-4)
        np.testing.assert_allclose(deep, [0.087, 0.054, 0.041], atol=6e-4)

    def test_melanin_of_luminance_inverts(self) -> None:
        luminance = np.linspace(0.04, 0.5, 20)
        reached = skin_reflectance(melanin_of_luminance(luminance), np.zeros(20), np.zeros(20)) @ LUMINANCE
        np.testing.assert_allclose(reached, luminance, atol=1e-4)

    def test_colours_lie_where_skin_was_measured(self) -> None:
        luminance = np.linspace(0.04, 0.5, 40)
        zero = np.zeros(40)
        lab = cielab(skin_reflectance(melanin_of_luminance(luminance), zero, zero))
        # Neither salmon nor orange: redness and yellowness of the Monk scale's and of measured skin.
        assert ((lab[:, 1] > 2) & (lab[:, 1] < 14)).all()
        assert ((lab[:, 2] > 3) & (lab[:, 2] < 21)).all()
        # The darkest skin is the most neutral.
        chroma = np.hypot(lab[:, 1], lab[:, 2])
        assert chroma[0] < 0.5 * chroma[20]

    def test_cielab_of_known_colours(self) -> None:
        np.testing.assert_allclose(cielab(np.ones(3)), [100, 0, 0], atol=0.02)
        np.testing.assert_allclose(cielab(np.array([1.0, 0, 0])), [53.24, 80.09, 67.20], atol=0.05)

    def test_typology_angle_spans_the_classes(self) -> None:
        colours = skin_reflectance(np.array([0.1, 3.0]), np.zeros(2), np.zeros(2))
        light, dark = individual_typology_angle(colours)
        assert light > 50
        assert dark < -30


class TestPainting:
    def test_smoothstep(self) -> None:
        np.testing.assert_allclose(smoothstep(np.array([-1, 0, 1, 2, 3.0]), 0, 2), [0, 0, 0.5, 1, 1])

    def test_polyline_distance(self) -> None:
        line = np.array([[0.0, 0], [3, 0], [3, 1]])
        distance, along = polyline_distance(np.array([[1.0, 2], [4, 1], [-1, 0]]), line)
        np.testing.assert_allclose(distance, [2, 1, 1])
        np.testing.assert_allclose(along, [0.25, 1, 0])

    def test_regions_lie_in_their_places(self, template: Template, painting: Painting) -> None:
        points = template.vertices[template.landmarks]
        height = template.vertices[:, 1]
        brow = height[painting.brow > 0.5]
        assert abs(brow.mean() - points[17:27, 1].mean()) < 3
        assert brow.min() > points[[37, 38, 43, 44], 1].max()
        beard = painting.moustache + painting.goatee + painting.jaw
        assert beard.max() <= 1 + 1e-9
        assert height[(painting.goatee > 0.5)].max() < points[57, 1] + 6
        assert beard[painting.lips > 0.9].max() < 0.11
        assert np.abs(template.vertices[painting.iris > 0.5, 0]).mean() == pytest.approx(30, abs=0.5)
        assert (painting.pupil <= painting.iris + 1e-9).all()

    def test_masks_are_symmetric(self, template: Template, painting: Painting) -> None:
        mirrored = template.vertices * [-1, 1, 1]
        apart = np.linalg.norm(mirrored[:, None, :] - template.vertices[None], axis=-1)
        other = apart.argmin(axis=1)
        for mask in (painting.brow, painting.jaw, painting.sockets, painting.iris):
            np.testing.assert_allclose(mask, mask[other], atol=0.02)

    def test_hollows_see_less_sky(self, painting: Painting) -> None:
        assert painting.visibility[painting.mouth].max() < 0.6
        assert np.median(painting.visibility[painting.skin]) > 0.95


def test_field_has_unit_variance_and_no_mean_direction(template: Template) -> None:
    triangles = template.triangles[template.triangle_part == SKIN]
    field = surface_field(template.vertices, triangles, 20)
    skin = template.vertex_part == SKIN
    np.testing.assert_allclose((field.smooth(60.0, 20)[skin] ** 2).sum(axis=1), 1, atol=1e-6)
    assert (np.diff(field.wavelengths) <= 1e-6).all()
    assert (field.functions[~skin] == 0).all()


class TestReflectance:
    def test_basis_is_orthonormal_and_sorted(self, model: Reflectance) -> None:
        np.testing.assert_allclose(model.basis.T @ model.basis, np.eye(128), atol=1e-5)
        assert (np.diff(model.sigma) <= 0).all()
        assert model.explained(128) > 0.999
        assert model.explained(3) > 0.9

    def test_components_match_a_singular_value_decomposition(self) -> None:
        values = np.random.default_rng(1).normal(size=(40, 15)).astype(np.float32) * np.arange(15, 0, -1)
        result = principal_components(values.astype(np.float32), 5)
        _, singular, directions = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
        np.testing.assert_allclose(result.mean, values.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(result.variances[:15], singular**2 / 39, rtol=1e-4)
        np.testing.assert_allclose(np.abs(directions[:5] @ result.basis), np.eye(5), atol=1e-3)

    def test_one_seed_gives_one_model(self, template: Template) -> None:
        one, two, other = (build_reflectance(template, seed, samples=150) for seed in (5, 5, 6))
        np.testing.assert_array_equal(one.mean, two.mean)
        shared = np.linalg.svd(one.basis[:, :20].T @ two.basis[:, :20], compute_uv=False)
        np.testing.assert_allclose(shared, 1, atol=1e-4)
        assert not np.array_equal(one.mean, other.mean)

    def test_hardly_any_reflectance_leaves_the_gamut(self, faces: np.ndarray) -> None:
        assert (faces < 0).mean() < 0.004
        assert (faces > 0.9).mean() < 0.001

    def test_brows_are_darker_than_cheeks(self, painting: Painting, faces: np.ndarray) -> None:
        brow = _spot(faces, painting.brow > 0.6) @ LUMINANCE
        cheek = _spot(faces, painting.cheeks > 0.6) @ LUMINANCE
        assert (brow < cheek).mean() >= 0.99

    def test_irises_say_nothing_of_the_skin(self, model: Reflectance, painting: Painting) -> None:
        columns = model.basis.reshape(-1, 3, 128)
        moves_eye = np.abs(columns[painting.eye]).max(axis=(0, 1)) > 0
        moves_skin = np.abs(columns[~painting.eye]).max(axis=(0, 1)) > 0
        assert moves_eye.sum() == 4
        assert not (moves_eye & moves_skin).any()

    def test_irises_are_brown_to_blue(self, painting: Painting, faces: np.ndarray) -> None:
        iris = _spot(faces, (painting.iris > 0.9) & (painting.pupil < 0.1))
        # Neither violet nor red: green lies between the outer channels or near them.
        assert (iris[:, 1] > 0.75 * np.minimum(iris[:, 0], iris[:, 2])).all()
        assert np.percentile(iris[:, 0] / iris[:, 2], 5) < 1 < np.percentile(iris[:, 0] / iris[:, 2], 95)

    def test_skin_spans_fair_to_dark(self, painting: Painting, faces: np.ndarray) -> None:
        cheek = _spot(faces, painting.cheeks > 0.6)
        angle = individual_typology_angle(cheek)
        assert (angle < -30).mean() > 0.04
        assert (angle > 41).mean() > 0.10
        luminance = cheek @ LUMINANCE
        assert np.percentile(luminance, 2) > 0.02
        # Dark skin is brown, not orange: blue keeps up with green.
        dark = cheek[luminance < np.percentile(luminance, 15)]
        assert np.median(dark[:, 2] / dark[:, 1]) > 0.6

    def test_beards_darken_without_reddening(self, model: Reflectance, painting: Painting) -> None:
        chin = (painting.goatee > 0.7)[:, None].repeat(3, axis=1).ravel()
        cheek = (painting.cheeks > 0.7)[:, None].repeat(3, axis=1).ravel()
        directions = model.basis * model.sigma
        contrast = np.abs(directions[chin].mean(axis=0) - directions[cheek].mean(axis=0))
        strongest = contrast[1:].argmax() + 1
        change = directions[chin, strongest].reshape(-1, 3).mean(axis=0)
        change = change * np.sign(change.sum())
        # What is taken away is redder than the skin itself: the rest is bluish grey.
        skin = model.mean[painting.goatee > 0.7].mean(axis=0)
        assert change[0] / change.sum() > skin[0] / skin.sum()
