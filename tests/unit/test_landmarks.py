"""Faces found in photos of any size, on the public-domain portrait of Eileen Collins."""

import importlib.util
import math
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from inversefacenet.errors import ImageError, LandmarkError, MissingDependencyError, NoFaceError
from inversefacenet.face_patch import FacePatch, overlap, rotation, square
from inversefacenet.landmarks import Face, FaceDetector

# Centres of the irises in `examples/astronaut.png`, read off the picture.
RIGHT_EYE, LEFT_EYE = np.array([204.0, 101.5]), np.array([247.5, 104.0])
MIRRORED = np.array(
    [
        *range(16, -1, -1),  # jaw
        *range(26, 16, -1),  # brows
        *(27, 28, 29, 30, 35, 34, 33, 32, 31),  # nose
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),  # eyes
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),  # outer lips
        *(64, 63, 62, 61, 60, 67, 66, 65),  # inner lips
    ]
)


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    detector = FaceDetector()
    detector.load()
    return detector


@pytest.fixture(scope="module")
def astronaut(root) -> Image.Image:
    with Image.open(root / "examples" / "astronaut.png") as image:
        return image.convert("RGB")


@pytest.fixture(scope="module")
def face(detector, astronaut) -> Face:
    return detector.detect(np.asarray(astronaut))[0]


def backdrop(width: int, height: int) -> Image.Image:
    """A slope of grey, so that pasted photos don't lie on a flat colour."""
    row = np.linspace(60, 160, width).astype(np.uint8)
    return Image.fromarray(np.broadcast_to(row[None, :, None], (height, width, 3)).copy())


def eye_distance(points: np.ndarray) -> float:
    return float(np.linalg.norm(points[45] - points[36]))


def assert_same_points(points: np.ndarray, expected: np.ndarray, tolerance: float = 0.04) -> None:
    """Mean distance within a share of the distance of the outer eye corners."""
    assert np.linalg.norm(points - expected, axis=1).mean() < tolerance * eye_distance(expected)


def test_portrait(face):
    assert face.landmarks.shape == (68, 2)
    assert face.landmarks.dtype == np.float32
    assert np.linalg.norm(face.landmarks[36:42].mean(0) - RIGHT_EYE) < 2.5
    assert np.linalg.norm(face.landmarks[42:48].mean(0) - LEFT_EYE) < 2.5
    left, top, right, bottom = face.box
    assert left < RIGHT_EYE[0] < LEFT_EYE[0] < right
    assert top < RIGHT_EYE[1] < bottom
    assert face.area == pytest.approx((right - left) * (bottom - top))
    assert face.score > 0.5
    x, y = face.landmarks.T
    assert (np.diff(x[:17]) > 0).all()  # the jaw runs from the image's left to its right
    assert y[8] == y.max()  # and its middle, the chin, is lowest
    assert y[27] < y[30] < y[33] < y[51] < y[57]  # nose bridge, tip, base, upper lip, lower lip


def test_only_one_face_in_the_portrait(detector, astronaut):
    assert len(detector.detect(np.asarray(astronaut))) == 1


def test_mirrored_photo_gives_mirrored_points(detector, astronaut, face):
    # Pixel centres taken for whole numbers would shift the mirrored points by one pixel.
    mirrored = detector.detect(np.asarray(astronaut)[:, ::-1])[0].landmarks[MIRRORED]
    mirrored = np.column_stack([astronaut.width - mirrored[:, 0], mirrored[:, 1]])
    assert_same_points(mirrored, face.landmarks, 0.03)
    assert abs((mirrored - face.landmarks)[:, 0].mean()) < 0.4


@pytest.mark.parametrize("side", [128, 256, 1024, 2048])
def test_resized_photo_gives_resized_points(detector, astronaut, face, side):
    scale = side / astronaut.width
    photo = np.asarray(astronaut.resize((side, side), Image.Resampling.LANCZOS))
    points = detector.detect(photo)[0].landmarks / scale
    assert_same_points(points, face.landmarks)
    assert np.abs((points - face.landmarks).mean(0)).max() < 0.4


def test_moved_photo_gives_moved_points(detector, astronaut, face):
    canvas = backdrop(700, 620)
    canvas.paste(astronaut, (131, 77))
    points = detector.detect(np.asarray(canvas))[0].landmarks
    assert_same_points(points - (131, 77), face.landmarks)


def test_face_in_a_forty_megapixel_photo(detector, astronaut, face):
    canvas = backdrop(8000, 5000)
    canvas.paste(astronaut.resize((1536, 1536), Image.Resampling.BICUBIC), (5200, 3100))
    faces = detector.detect(np.asarray(canvas))
    assert_same_points((faces[0].landmarks - (5200, 3100)) / 3, face.landmarks)


def test_faces_are_ordered_by_size(detector, astronaut, face):
    # In the largest copy the detector also takes the round badge for a face, with a small margin.
    canvas = backdrop(1530, 700)
    places = {(10, 200): 440, (460, 0): 700, (1165, 100): 360}
    for place, side in places.items():
        canvas.paste(astronaut.resize((side, side), Image.Resampling.LANCZOS), place)
    faces = detector.detect(np.asarray(canvas))
    assert len(faces) == 3
    assert [f.area for f in faces] == sorted((f.area for f in faces), reverse=True)
    for found, (place, side) in zip(faces, sorted(places.items(), key=lambda item: -item[1]), strict=True):
        assert_same_points((found.landmarks - place) * (512 / side), face.landmarks, 0.08)
    large = detector.detect(np.asarray(canvas), minimum_size=110)
    assert len(large) == 1
    assert large[0].area == pytest.approx(faces[0].area, rel=0.3)


@pytest.mark.parametrize("degrees", [-90, -25, 55])
def test_rolled_face(detector, astronaut, face, degrees):
    head = astronaut.crop((100, 0, 356, 256))
    rolled = head.rotate(-degrees, Image.Resampling.BICUBIC)  # Pillow turns counter-clockwise
    points = detector.detect(np.asarray(rolled))[0].landmarks
    expected = (face.landmarks - (228, 128)) @ rotation(math.radians(degrees)).T + 128
    assert_same_points(points, expected)


def test_rolled_face_needs_the_second_detector(astronaut):
    rolled = np.asarray(astronaut.crop((100, 0, 356, 256)).rotate(-55, Image.Resampling.BICUBIC))
    with pytest.raises(NoFaceError):
        FaceDetector(hard_faces=False).detect(rolled)


def test_face_cut_off_by_the_border(detector, astronaut, face):
    cut = np.asarray(astronaut)[60:, 185:]
    points = detector.detect(cut)[0].landmarks
    assert_same_points(points + np.array([185, 60]), face.landmarks, 0.1)


def test_grey_photo_and_read_only_view(detector, astronaut, face):
    grey = np.asarray(astronaut.convert("L").convert("RGB"))
    assert_same_points(detector.detect(grey)[0].landmarks, face.landmarks)
    wide = np.repeat(np.asarray(astronaut), 2, axis=1)[:, ::2]
    assert not wide.flags.c_contiguous
    np.testing.assert_array_equal(detector.detect(wide)[0].landmarks, face.landmarks)


def test_no_face(detector):
    noise = np.random.default_rng(0).integers(0, 256, (100, 120, 3), dtype=np.uint8)
    for photo in (noise, np.asarray(backdrop(120, 90))):
        with pytest.raises(NoFaceError, match="upright"):
            detector.detect(photo)


def test_face_smaller_than_asked_for_is_none(detector, astronaut):
    with pytest.raises(NoFaceError):
        detector.detect(np.asarray(astronaut), minimum_size=150)


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (1, 4000), (4000, 1), (30, 2000), (20, 20)])
def test_slivers_hold_no_face(detector, shape):
    with pytest.raises(NoFaceError):
        detector.detect(np.full((*shape, 3), 127, np.uint8))


def test_landmarks_of_a_known_box(detector, astronaut, face):
    photo = np.asarray(astronaut)
    assert_same_points(detector.landmarks_only(photo, face.box), face.landmarks, 1e-6)
    box = np.array(face.box)
    size = box[2] - box[0]
    for move, growth in (((0.1, 0), 0), ((0, -0.1), 0.05), ((-0.05, 0.08), -0.08)):
        moved = box + size * np.array([*move, *move]) + size * growth * np.array([-1, -1, 1, 1])
        assert_same_points(detector.landmarks_only(photo, moved), face.landmarks)


@pytest.mark.parametrize(
    "box",
    [
        *[(1, 2, 3), (1, 2, 3, 4, 5), (0, 0, math.nan, 50), (0, 0, math.inf, 50)],
        *[(10, 10, 10, 50), (50, 10, 10, 50), (600, 0, 700, 100), (-90, 0, -10, 80)],
        *[(-1e9, -1e9, 1e9, 1e9), (511.5, 0, 600, 90)],
    ],
)
def test_impossible_boxes(detector, astronaut, box):
    with pytest.raises(LandmarkError, match="face box"):
        detector.landmarks_only(np.asarray(astronaut), box)


def test_landmarks_of_what_is_no_face_are_spread(detector, astronaut, face):
    photo = np.asarray(astronaut)
    found = detector.face_at(photo, face.box, 0.5)
    assert found.score == 0.5
    assert_same_points(found.landmarks, detector.landmarks_only(photo, face.box), 1e-6)
    assert 0 < face.spread < 0.01
    suit = detector.face_at(photo, (180.0, 300.0, 320.0, 440.0))
    assert suit.spread > 2 * face.spread
    assert np.isnan(suit.score)
    assert np.isnan(Face.known(face.landmarks).spread)


def test_threads_share_a_detector(detector, astronaut, face):
    photo = np.asarray(astronaut.crop((100, 0, 356, 256)))
    photos = [photo, photo[:, ::-1], photo[:200]] * 2
    alone = [detector.detect(photo)[0].landmarks for photo in photos[:3]] * 2
    with ThreadPoolExecutor(2) as pool:
        together = [faces[0].landmarks for faces in pool.map(detector.detect, photos)]
    np.testing.assert_array_equal(together, alone)


def test_only_photos_are_searched(detector):
    # The run-time shape checks of the tests may speak first, as a TypeError.
    for image in (np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3), np.float32)):
        with pytest.raises((ImageError, TypeError)):
            detector.detect(image)
    with pytest.raises(ImageError, match="uint8"):
        detector.detect(np.zeros((0, 9, 3), np.uint8))


def test_missing_packages_are_named(monkeypatch, astronaut):
    photo = np.asarray(astronaut)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "dlib", None)
        with pytest.raises(MissingDependencyError, match=r"pip install .*\[detect\]"):
            FaceDetector().detect(photo)
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(MissingDependencyError, match=r"shape_predictor_68.*pip install .*\[detect\]"):
            FaceDetector().load()


def test_patch_maps_back_exactly():
    height, width = 300, 400
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0] = (np.arange(width) / 2)[None, :]
    ramp[..., 1] = (np.arange(height) / 2)[:, None]
    patch = FacePatch.cut(ramp, (150.0, 100.0, 230.0, 180.0), 200.0)
    np.testing.assert_allclose(patch.to_photo(patch.centre[None])[0], (190, 140))
    turned = patch.turned(0.5, patch.centre + 7, 180.0)
    for one in (patch, turned):
        inner = one.centre + np.array([[0.0, 0.0], [-50.0, 20.0], [35.0, 60.0]])
        pixels = np.floor(inner)
        colours = one.pixels[pixels[:, 1].astype(int), pixels[:, 0].astype(int)]
        # The ramp's value at a photo point names the point: index / 2 at the pixel's centre.
        np.testing.assert_allclose(one.to_photo(pixels + 0.5), colours[:, :2] * 2.0 + 0.5 + 0.5, atol=1.6)


def test_boxes():
    assert overlap((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert overlap((0, 0, 2, 2), (2, 0, 4, 2)) == 0
    assert overlap((0, 0, 2, 2), (0, 0, 2, 2)) == 1
    assert square(np.array([5.0, 6.0]), 4) == (3, 4, 7, 8)
    np.testing.assert_allclose(rotation(math.pi / 2) @ [1, 0], [0, 1], atol=1e-12)
