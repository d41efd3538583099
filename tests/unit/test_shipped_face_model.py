"""What the shipped face model promises to the rest of the package."""

from importlib import resources

import numpy as np
import pytest

from inversefacenet.camera import landmark_points, rotation_matrix
from inversefacenet.morphable_model import MorphableModel
from training.face_model.surface import rim_loops

JAW_AND_BROWS = [*range(16, -1, -1), *range(26, 16, -1)]
NOSE_AND_EYES = [*range(27, 31), *range(35, 30, -1), 45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
LIPS = [*range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1)]
MIRRORED = np.array([*JAW_AND_BROWS, *NOSE_AND_EYES, *LIPS])


@pytest.fixture(scope="module")
def model():
    return MorphableModel.load_default()


def turned(model, yaw=0.0, pitch=0.0):
    angles = np.radians([yaw, pitch, 0.0])
    return (model.mean_geometry @ rotation_matrix(angles).T).astype(np.float32)


def test_file_is_small_enough_to_ship():
    asset = resources.files("inversefacenet") / "assets" / "face_model.npz"
    assert len(asset.read_bytes()) <= 12_000_000


def test_mesh_is_consistently_oriented_with_smooth_rims_only(model):
    loops = rim_loops(model.triangles)
    # The face's rim, the two lids' inner rims and the two eyeballs': the mouth is closed.
    assert len(loops) == 5
    assert np.unique(model.triangles).size == model.vertex_count


def test_triangles_face_outward(model):
    corners = model.mean_geometry[model.triangles[model.triangle_part == 0]]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outward = corners.mean(axis=1) - model.mean_geometry.mean(axis=0) + (0, 0, 60)
    assert ((normals * outward).sum(axis=1) > 0).mean() > 0.85


def test_origin_is_the_skin_centroid(model):
    np.testing.assert_allclose(model.mean_geometry[model.vertex_part == 0].mean(axis=0), 0, atol=1e-3)


@pytest.mark.parametrize("name", ["shape", "expression", "reflectance"])
def test_bases_are_orthonormal_and_sorted(model, name):
    basis, sigma = getattr(model, f"{name}_basis"), getattr(model, f"{name}_sigma")
    gram = basis.T @ basis
    # Quantisation leaves a little: at most 5% between any two directions.
    assert np.abs(gram - np.eye(len(gram))).max() < 0.05
    assert (np.diff(sigma) <= 0).all()
    assert sigma.min() > 0


def test_spread_is_that_of_faces(model):
    assert 2.5 < np.sqrt((model.shape_rms**2).sum()) < 4.5
    assert 2 < np.sqrt((model.expression_rms**2).sum()) < 5


def test_zero_coefficients_are_the_neutral_mean(model):
    neutral = model.geometry(np.zeros(128, np.float32), np.zeros(64, np.float32))
    np.testing.assert_array_equal(neutral, model.mean_geometry)


def test_units_do_what_their_names_say(model):
    def lift(unit, landmark):
        moved = model.geometry(np.zeros(128, np.float32), model.expression_from_units({unit: 1.0}))
        return float((moved - model.mean_geometry)[model.landmarks[landmark], 1])

    assert len(model.unit_names) == 85
    assert lift("jawOpen", 57) < -8
    assert abs(lift("jawOpen", 27)) < 1
    assert lift("eyeBlinkLeft", 44) < -4
    assert abs(lift("eyeBlinkLeft", 37)) < 0.5
    assert lift("browInnerUp", 21) > 2
    assert lift("mouthSmileLeft", 54) > 2


def test_landmarks_mirror_each_other(model):
    points = model.mean_geometry[model.landmarks]
    mirrored = points[MIRRORED] * (-1, 1, 1)
    # The mean of random asymmetric heads is symmetric but for chance.
    assert np.abs(points - mirrored).max() < 1.5
    assert len(set(model.landmarks.tolist())) == 68


def test_landmarks_are_in_anatomical_order(model):
    x, y, z = model.mean_geometry[model.landmarks].T
    assert (np.diff(x[:17]) > 0).all()
    assert y[8] == y[:17].min()
    assert z.argmax() == 30
    assert (np.diff(y[27:31]) < 0).all()
    assert y[17:27].min() > y[36:48].max()
    assert y[48:68].max() < y[31:36].min()


def test_painted_region_has_brows_and_chin_but_neither_forehead_nor_mouth(model):
    painted = np.zeros(model.vertex_count, bool)
    painted[model.painted_vertices] = True
    height = model.mean_geometry[:, 1]
    skin = model.vertex_part == 0
    brows = height[model.landmarks[17:27]].max()
    assert not painted[skin & (height > brows + 12)].any()
    assert painted[model.landmarks[17:]].mean() > 0.9
    assert not (model.painted & model.mouth_triangles).any()


def test_frontal_jaw_points_are_the_landmarks_themselves(model):
    vertices = turned(model)
    slid = landmark_points(model, vertices, 0.0)[:17]
    own = vertices[model.landmarks[:17]]
    frontal = own[:, :2] * (1, -1) / (700 - own[:, 2:])
    assert np.linalg.norm(slid - frontal, axis=1).max() * 700 < 4


@pytest.mark.parametrize("yaw", [-50, -30, 30, 50])
def test_jaw_points_of_the_far_side_lie_on_the_outline(model, yaw):
    vertices = turned(model, yaw)
    points = landmark_points(model, vertices, 0.0)
    skin = vertices[model.vertex_part == 0]
    outline = skin[:, :2] * (1, -1) / (700 - skin[:, 2:])
    far = slice(12, 16) if yaw > 0 else slice(1, 5)
    for x, y in points[far]:
        level = outline[np.abs(outline[:, 1] - y) * 700 < 2.5, 0]
        gap = (level.max() - x) if yaw > 0 else (x - level.min())
        assert gap * 700 < 4


@pytest.mark.parametrize("yaw", [-40, 40])
def test_mesh_extends_beyond_the_near_side_of_the_jaw(model, yaw):
    vertices = turned(model, yaw)
    points = landmark_points(model, vertices, 0.0)
    skin = vertices[model.vertex_part == 0]
    outline = skin[:, :2] * (1, -1) / (700 - skin[:, 2:])
    near = slice(0, 5) if yaw > 0 else slice(12, 17)
    for x, y in points[near]:
        level = outline[np.abs(outline[:, 1] - y) * 700 < 2.5, 0]
        margin = (x - level.min()) if yaw > 0 else (level.max() - x)
        assert margin * 700 > 1
