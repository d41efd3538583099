"""The builder's parts on small meshes. Rebuilding the whole model: `make test-face-model`."""

import numpy as np
import pytest
from scipy.sparse import identity

from training.face_model.expression import Rig, build_expression, sphere_centre
from training.face_model.makehuman import AGES, GENDERS, RACES, Macro, average_macro, macro_weights
from training.face_model.shape import align, local_parameters, principal_directions, sample_local
from training.face_model.subdivision import catmull_clark, subdivide_corners
from training.face_model.surface import Surface, rim_loops, triangle_sides

CUBE = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
CORNERS = np.array([[x, y, z] for x in (-1.0, 1) for y in (-1.0, 1) for z in (-1.0, 1)])


def grid(size: int):
    """A flat square of quads, counter-clockwise seen from +z."""
    index = np.arange((size + 1) ** 2).reshape(size + 1, size + 1)
    quads = np.stack([index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]], axis=-1).reshape(-1, 4)
    y, x = np.divmod(np.arange((size + 1) ** 2), size + 1)
    return quads, np.stack([x, y, 0 * x], axis=1).astype(float)


def flat_surface(size: int = 6):
    quads, points = grid(size)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    surface = Surface(
        operator=identity(len(points), format="csr"),
        triangles=triangles,
        part=np.zeros(len(triangles), np.uint8),
        uv=points[triangles][..., :2],
    )
    return surface, points


def test_subdivided_cube_matches_catmull_and_clark_by_hand():
    operator, quads = catmull_clark(CUBE, 8)
    points = operator @ CORNERS
    assert points.shape == (8 + 12 + 6, 3)
    assert quads.shape == (24, 4)
    # A corner of valence 3: (face points + 2 edge middles + 0 corner) / 3, coordinate by coordinate 5/9.
    np.testing.assert_allclose(np.abs(points[:8]), 5 / 9)
    np.testing.assert_allclose(np.sort(np.abs(points[8:20]), axis=1), [[0, 0.75, 0.75]] * 12)
    np.testing.assert_allclose(np.sort(np.abs(points[20:]), axis=1), [[0, 0, 1]] * 6)


def test_subdivision_rows_sum_to_one_and_keep_orientation_closed():
    operator, quads = catmull_clark(CUBE, 8)
    np.testing.assert_allclose(np.asarray(operator.sum(axis=1)).ravel(), 1)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    assert rim_loops(triangles) == []


def test_subdivision_keeps_a_flat_grid_flat_and_its_rim_straight():
    quads, points = grid(3)
    operator, finer = catmull_clark(quads, len(points))
    moved = operator @ points
    np.testing.assert_allclose(moved[:, 2], 0)
    assert len(finer) == 4 * len(quads)
    sides = {tuple(sorted(side)) for quad in finer for side in zip(quad, np.roll(quad, -1), strict=True)}
    lengths = [np.linalg.norm(moved[a] - moved[b]) for a, b in sides]
    assert max(lengths) < 0.8
    inner = moved[5]  # an inner vertex of a regular grid stays where it is
    np.testing.assert_allclose(inner, [1, 1, 0])


def test_unused_vertices_get_empty_rows():
    operator, _ = catmull_clark(CUBE, 9)
    assert operator[8].nnz == 0


def test_corner_values_are_subdivided_in_the_order_of_the_quads():
    quads, points = grid(2)
    operator, finer = catmull_clark(quads, len(points))
    values = subdivide_corners(points[quads])
    # Face points are not smoothed: all third corners agree with the mesh's own positions.
    np.testing.assert_allclose(values[:, 2], (operator @ points)[finer[:, 2]])


def test_clip_cuts_exactly_along_the_zero_line_and_keeps_orientation():
    surface, points = flat_surface()
    clipped = surface.clip(points[:, 0] + 0.5 * points[:, 1] - 4.25, 0).compact()
    after = clipped.operator @ points
    value = after[:, 0] + 0.5 * after[:, 1] - 4.25
    assert value.max() < 1e-9
    assert (np.abs(value) < 1e-9).sum() > 5
    edges = after[clipped.triangles]
    area = np.cross(edges[:, 1] - edges[:, 0], edges[:, 2] - edges[:, 0])[:, 2] / 2
    assert (area > 0).all()
    # The square of 36 less the trapezium with sides 6 - 4.25 + 0.5 y at y = 0 and 6.
    assert area.sum() == pytest.approx(36 - 6 * (1.75 + 4.75) / 2)
    assert len(rim_loops(clipped.triangles)) == 1
    np.testing.assert_allclose(clipped.uv, after[clipped.triangles][..., :2], atol=1e-9)


def test_close_fills_a_hole_with_the_same_orientation():
    surface, points = flat_surface()
    hole = (np.abs(points[surface.triangles].mean(axis=1)[:, :2] - 3) < 1).all(axis=1)
    pierced = surface.keep(~hole)
    loops = sorted(rim_loops(pierced.triangles), key=len)
    assert len(loops) == 2
    closed = pierced.close(loops[0], 0)
    assert len(rim_loops(closed.triangles)) == 1
    np.testing.assert_allclose((closed.operator @ points)[-1], [3, 3, 0])


def test_component_keeps_what_hangs_together():
    surface, points = flat_surface()
    left = points[surface.triangles].mean(axis=1)[:, 0] < 2
    right = points[surface.triangles].mean(axis=1)[:, 0] > 4
    chosen = surface.component(0, left | right)
    np.testing.assert_array_equal(chosen, left)


def test_rim_loops_refuse_inconsistent_orientation():
    with pytest.raises(ValueError, match="oriented"):
        rim_loops(np.array([[0, 1, 2], [0, 1, 3]]))


def test_triangle_sides_are_directed():
    np.testing.assert_array_equal(triangle_sides(np.array([[4, 5, 6]])), [[4, 5], [5, 6], [6, 4]])


def test_macro_weights_of_each_family_sum_to_one():
    rng = np.random.default_rng(0)
    macro = Macro(rng.dirichlet([1, 1, 1], 20), *(rng.random(20) for _ in range(5)))
    weights = macro_weights(macro)
    races = sum(value for name, value in weights.items() if name.split("-")[0] in RACES)
    bodies = sum(value for name, value in weights.items() if name.startswith("universal-"))
    np.testing.assert_allclose(races, 1)
    np.testing.assert_allclose(bodies, 1)


def test_average_macro_is_young_and_average():
    assert set(macro_weights(average_macro())) == {
        *(f"{race}-{gender}-{AGES[2]}" for race in RACES for gender in GENDERS),
        *(f"universal-{gender}-young-averagemuscle-averageweight" for gender in GENDERS),
    }


def test_local_parameters_pair_opposite_targets():
    names = ["nose-hump-decr", "nose-hump-incr", "head-oval", "head-trans-up", "head-trans-down"]
    parameters = {p.positive: p.negative for p in local_parameters({"head": names})}
    assert parameters == {"nose-hump-incr": "nose-hump-decr", "head-oval": None}


def test_left_and_right_parameters_go_together():
    names = [f"{side}-eye-scale-{end}" for side in "lr" for end in ("decr", "incr")]
    left, right = sample_local(np.random.default_rng(0), 2000, local_parameters({"eyes": names})).T
    assert np.corrcoef(left, right)[0, 1] > 0.85
    assert 0.2 < left.std() < 0.3


def test_alignment_undoes_rotation_and_shift_but_not_scale():
    rng = np.random.default_rng(0)
    reference = rng.normal(0, 50, (40, 3))
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    heads = np.stack([reference @ rotation + 5, 1.1 * (reference @ rotation)]).astype(np.float32)
    aligned = align(heads, reference, np.ones(40, bool))
    np.testing.assert_allclose(aligned[0], reference, atol=1e-3)
    centre = reference.mean(axis=0)
    np.testing.assert_allclose(aligned[1] - centre, 1.1 * (reference - centre), atol=1e-3)


def test_principal_directions_are_those_of_the_covariance():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(80, 6)) @ np.diag([5, 4, 3, 2, 1, 0.5])
    data = np.pad(data, ((0, 0), (0, 90))).astype(np.float32)
    data -= data.mean(axis=0)
    basis, variance = principal_directions(data, 4)
    values, vectors = np.linalg.eigh(np.cov(data.T.astype(float)))
    np.testing.assert_allclose(variance[:4], values[::-1][:4], rtol=1e-4)
    np.testing.assert_allclose(np.abs(np.diag(basis.T @ vectors[:, ::-1][:, :4])), 1, atol=1e-4)
    np.testing.assert_allclose(basis.T @ basis, np.eye(4), atol=1e-6)


@pytest.fixture(scope="module")
def small_rig():
    names = ("jawOpen", *(f"unit{i}" for i in range(79)))
    displacements = np.random.default_rng(0).normal(size=(80, 300)).astype(np.float32)
    return Rig(names, displacements)


def test_expression_basis_is_orthonormal_and_zero_is_neutral(small_rig):
    expression = build_expression(small_rig, seed=0, samples=2000)
    np.testing.assert_allclose(expression.basis.T @ expression.basis, np.eye(64), atol=1e-5)
    # Coefficients are linear in the units: no units, no coefficients, no displacement.
    restored = expression.unit_coefficients * expression.sigma @ expression.basis.T
    projected = small_rig.displacements @ expression.basis @ expression.basis.T
    np.testing.assert_allclose(restored, projected, atol=1e-4)


def test_expression_basis_is_reproducible_and_its_variance_is_the_samples(small_rig):
    first, again, other = (build_expression(small_rig, seed, samples=4000) for seed in (0, 0, 1))
    np.testing.assert_allclose(first.sigma, again.sigma, rtol=1e-5)
    overlap = np.linalg.svd(first.basis.T @ again.basis)[1]
    np.testing.assert_allclose(overlap, 1, atol=1e-4)
    np.testing.assert_allclose(first.sigma[:8], other.sigma[:8], rtol=0.1)
    assert (np.diff(first.variance) <= 0).all()


def test_sphere_centre_from_a_cap():
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(50, 3)) * (1, 1, 0.3) + (0, 0, 1)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    np.testing.assert_allclose(sphere_centre(13 * directions + (1, 2, 3)), [1, 2, 3], atol=1e-9)
