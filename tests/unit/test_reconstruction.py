import numpy as np
import pytest

from inversefacenet.backends import InferenceBackend
from inversefacenet.camera import Placement
from inversefacenet.errors import BackendError, NoFaceError
from inversefacenet.landmarks import Face
from inversefacenet.parameters import Parameters
from inversefacenet.reconstruction import Detector, Reconstructor
from inversefacenet.rendering import render
from inversefacenet.sampling import NATURAL


class Known:
    """A detector and a network that know the answer."""

    name, digest = "known", "0" * 64

    def __init__(self, faces, thetas):
        self.faces, self.thetas, self.crops = faces, thetas, []

    def detect(self, image, *, faces="largest", minimum_size=None, limit=None):
        if not self.faces:
            raise NoFaceError("No face was found.")
        return self.faces[:1] if faces == "largest" else self.faces

    def infer(self, crops, *, timeout=None):
        self.crops.append(crops)
        return self.thetas[: len(crops)]


@pytest.fixture
def scene(synthetic_model):
    """A photo of two rendered faces, the larger one at the right."""
    thetas = NATURAL.sample(np.random.default_rng(8), 2, synthetic_model)
    photo = np.zeros((400, 700, 3), np.uint8)
    faces, renderings = [], []
    for theta, (scale, left) in zip(thetas, [(1.3, 330), (0.9, 40)], strict=True):
        parameters = Parameters.from_vector(theta)
        fitted = render(synthetic_model, parameters).placement
        placement = fitted.then(Placement(scale, (left, 30.0)))
        rendering = render(synthetic_model, parameters, placement=placement, shape=photo.shape[:2])
        photo[rendering.mask] = rendering.image[rendering.mask]
        low, high = rendering.landmarks.min(axis=0), rendering.landmarks.max(axis=0)
        faces.append(Face(tuple(map(float, (*low, *high))), 1.0, rendering.landmarks))
        renderings.append(rendering)
    return photo, faces, thetas, renderings


@pytest.fixture
def pipeline(scene, synthetic_model):
    known = Known(scene[1], scene[2])
    return known, Reconstructor(detector=known, backend=known, model=synthetic_model)


def test_protocols_are_met_by_what_has_their_methods():
    known = Known([], [])
    assert isinstance(known, Detector)
    assert isinstance(known, InferenceBackend)
    assert not isinstance(object(), Detector)


def test_the_right_answer_explains_the_photo(scene, pipeline):
    faces = pipeline[1].reconstruct(scene[0], faces="all")
    assert len(faces) == 2
    for face, theta in zip(faces, scene[2], strict=True):
        np.testing.assert_array_equal(face.parameters.vector(), theta)
        assert face.quality.photometric < 12
        assert face.quality.iou > 0.85
        assert face.quality.iou_hull > 0.995
        assert face.quality.landmark < 0.01


def test_a_wrong_answer_is_noticed(scene, pipeline):
    known, reconstructor = pipeline
    known.thetas = np.stack([Parameters.neutral().vector()] * 2)
    right = scene[2]
    quality = reconstructor.reconstruct(scene[0])[0].quality
    known.thetas = right
    better = reconstructor.reconstruct(scene[0])[0].quality
    assert quality.photometric > better.photometric + 5
    assert quality.landmark > 5


def test_vertices_and_landmarks_come_back_to_the_photos_pixels(scene, pipeline):
    for face, rendering in zip(pipeline[1].reconstruct(scene[0], faces="all"), scene[3], strict=True):
        np.testing.assert_allclose(face.photo_points(), rendering.points(), atol=0.02)
        np.testing.assert_allclose(face.photo_landmarks(), rendering.landmarks, atol=0.02)
        assert face.photo_placement.scale == pytest.approx(rendering.placement.scale, rel=1e-4)
        np.testing.assert_allclose(face.photo_placement.offset, rendering.placement.offset, atol=0.02)


def test_only_the_largest_face_is_the_default(scene, pipeline):
    known, reconstructor = pipeline
    faces = reconstructor.reconstruct(scene[0])
    assert [face.face for face in faces] == [scene[1][0]]
    assert known.crops[0].shape == (1, 240, 240, 3)
    assert faces[0].photo_size == (700, 400)


def test_all_faces_go_through_the_network_at_once_and_masked(scene, pipeline):
    known, reconstructor = pipeline
    faces = reconstructor.reconstruct(scene[0], faces="all")
    assert len(known.crops) == 1
    for crop, face in zip(known.crops[0], faces, strict=True):
        np.testing.assert_array_equal(crop, face.crop.image)
        assert not crop[~face.crop.mask].any()


def test_geometry_and_reflectance_are_the_models(scene, pipeline, synthetic_model):
    face = pipeline[1].reconstruct(scene[0])[0]
    theta = Parameters.from_vector(scene[2][0])
    np.testing.assert_array_equal(face.geometry(), synthetic_model.geometry(theta.shape, theta.expression))
    skin = synthetic_model.reflectance(theta.reflectance)
    np.testing.assert_array_equal(face.reflectance(), np.clip(skin, 0, 1))


def test_no_face_is_an_error_and_no_landmarks_are_no_faces(scene, pipeline):
    known, reconstructor = pipeline
    known.faces = []
    with pytest.raises(NoFaceError):
        reconstructor.reconstruct(scene[0])
    assert reconstructor.reconstruct_faces(scene[0], []) == []
    assert known.crops == []


def test_the_backends_errors_reach_the_caller(scene, pipeline, monkeypatch):
    known, reconstructor = pipeline

    def fail(crops, timeout=None):
        raise BackendError("gone")

    monkeypatch.setattr(known, "infer", fail)
    with pytest.raises(BackendError, match="gone"):
        reconstructor.reconstruct(scene[0])
