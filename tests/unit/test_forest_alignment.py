"""Landmarks by our own kernels, beside dlib's answers from the same forest."""

import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from inversefacenet.dlib_models import DlibModels, import_dlib, load_forest, load_predictor
from inversefacenet.errors import InputError
from inversefacenet.forest_alignment import ForestAligner
from inversefacenet.forest_file import SmallForest
from inversefacenet.forest_kernel import predict
from inversefacenet.landmark_alignment import DlibAligner
from inversefacenet.landmark_forest import LandmarkForest
from inversefacenet.patch_sampling import Frame, GreyBlocks

BOX = (178.0, 62.0, 278.0, 162.0)
"""About the face in `examples/astronaut.png`."""


@pytest.fixture(scope="module")
def models() -> DlibModels:
    return DlibModels()


@pytest.fixture(scope="module")
def aligner(models) -> ForestAligner:
    aligner = ForestAligner(models.forest)
    aligner.load()
    return aligner


@pytest.fixture(scope="module")
def astronaut(root) -> Image.Image:
    with Image.open(root / "examples" / "astronaut.png") as image:
        return image.convert("RGB")


@pytest.fixture(scope="module")
def expected(models, astronaut) -> np.ndarray:
    return DlibAligner(models).align(np.asarray(astronaut), BOX, 0.0)[0]


def apart(points: np.ndarray, expected: np.ndarray) -> float:
    """Mean distance as a share of the distance of the outer eye corners."""
    eyes = np.linalg.norm(expected[45] - expected[36])
    return float(np.linalg.norm(points - expected, axis=1).mean() / eyes)


def test_one_box_gives_what_dlib_gives(models, astronaut):
    photo = np.asarray(astronaut.resize((1024, 1024)))  # the face is 200 pixels wide: no blocks
    forest, usual = models.forest(), models.predictor()
    shape = usual.predict(photo, import_dlib().rectangle(356, 124, 555, 323))
    theirs = np.array([(part.x, part.y) for part in shape.parts()]) + 0.5
    # dlib's box of 200 pixels spans 199 steps between pixel centres.
    frame = Frame(456.0, 224.0, 199.0)
    ours = frame.to_photo(predict(forest.arrays, GreyBlocks.around(photo, frame, 1.0, 199.0), [frame])[0])
    assert np.linalg.norm(ours - theirs, axis=1).mean() < 1.5
    assert apart(ours, theirs) < 0.015


def test_all_of_it_gives_what_dlibs_way_gives(aligner, astronaut, expected):
    points, spread = aligner.align(np.asarray(astronaut), BOX, 0.0)
    assert points.dtype == np.float32
    assert apart(points, expected) < 0.012
    assert 0.002 < spread < 0.008


@pytest.mark.parametrize("box", [(184, 66, 284, 166), (172, 58, 272, 158), (168, 52, 288, 172)])
def test_answer_hardly_depends_on_the_box(aligner, astronaut, expected, box):
    points, _ = aligner.align(np.asarray(astronaut), tuple(map(float, box)), 0.0)
    assert apart(points, expected) < 0.025


@pytest.mark.parametrize("degrees", [-90, -40, 15, 60, 180])
def test_rolled_faces_are_found_by_their_roll(aligner, astronaut, expected, degrees):
    """The photo is turned clockwise about the middle of the box."""
    middle = np.array([228.0, 112.0])
    turned = astronaut.rotate(-degrees, Image.Resampling.BICUBIC, center=tuple(middle))
    angle = math.radians(degrees)
    cosine, sine = math.cos(angle), math.sin(angle)
    where = (expected - middle) @ np.array([[cosine, sine], [-sine, cosine]]) + middle
    # The roll is known to a few degrees.
    points, _ = aligner.align(np.asarray(turned), BOX, angle + math.radians(6))
    assert apart(points, where) < 0.03


def test_small_roll_need_not_be_known(aligner, astronaut, expected):
    middle = np.array([228.0, 112.0])
    turned = astronaut.rotate(-18, Image.Resampling.BICUBIC, center=tuple(middle))
    angle = math.radians(18)
    cosine, sine = math.cos(angle), math.sin(angle)
    where = (expected - middle) @ np.array([[cosine, sine], [-sine, cosine]]) + middle
    assert apart(aligner.align(np.asarray(turned), BOX, 0.0)[0], where) < 0.03


@pytest.mark.parametrize("scale", [0.3, 0.5, 3.0, 9.0])
def test_faces_of_any_size(aligner, astronaut, expected, scale):
    crop = astronaut.crop((100, 0, 356, 256))
    side = round(256 * scale)
    photo = np.asarray(crop.resize((side, side), Image.Resampling.LANCZOS))
    box = tuple(scale * (edge - shift) for edge, shift in zip(BOX, (100, 0, 100, 0), strict=True))
    points, _ = aligner.align(photo, box, 0.0)
    assert apart(points / scale + [100, 0], expected) < (0.05 if scale < 0.5 else 0.025)


def test_face_at_the_photos_edge(aligner, astronaut, expected):
    photo = np.asarray(astronaut)[80:, 200:]
    box = (BOX[0] - 200, BOX[1] - 80, BOX[2] - 200, BOX[3] - 80)
    points, spread = aligner.align(photo, box, 0.0)
    assert np.isfinite(points).all()
    assert apart(points + np.array([200, 80]), expected) < 0.15
    assert spread < 0.1


def test_what_is_no_face_spreads_farther(aligner, astronaut):
    photo = np.asarray(astronaut)
    clear = aligner.align(photo, BOX, 0.0)[1]
    for box in [(20.0, 300.0, 120.0, 400.0), (380.0, 330.0, 480.0, 430.0)]:
        assert aligner.align(photo, box, 0.0)[1] > 2 * clear


def test_flat_picture_gives_finite_points(aligner):
    points, spread = aligner.align(np.full((60, 60, 3), 128, np.uint8), (10.0, 10.0, 50.0, 50.0), 0.3)
    assert np.isfinite(points).all()
    assert 0 < spread < 0.1


def test_8_bit_moves_are_near_the_forests_own(root):
    packed = load_forest(root / "inversefacenet" / "assets" / "open_landmarks.ifnlm")
    content = (root / "inversefacenet" / "assets" / "open_landmarks.ifnlm").read_bytes()
    forest = LandmarkForest.unpacked(content)
    again = packed.arrays.moves * packed.arrays.steps[..., None]
    assert np.abs(again - forest.leaves).max() <= np.abs(forest.leaves).max() / 127
    # dlib's own format leads to the same.
    read = SmallForest.read(forest.dlib_bytes())
    assert np.array_equal(read.pairs, packed.arrays.pairs)
    assert np.array_equal(read.anchors, packed.arrays.anchors)
    assert np.allclose(read.offsets, packed.arrays.offsets, atol=1e-6)
    assert np.allclose(read.thresholds, packed.arrays.thresholds)
    assert np.allclose(read.moves * read.steps[..., None], again, atol=1e-6)


def test_damaged_files_are_refused(root, tmp_path):
    content = (root / "inversefacenet" / "assets" / "open_landmarks.ifnlm").read_bytes()
    whole = LandmarkForest.unpacked(content).dlib_bytes()
    rng = np.random.default_rng(0)
    for length in (0, 1, 10, 1000, len(whole) // 2, len(whole) - 3):
        with pytest.raises(InputError, match="no landmark predictor"):
            SmallForest.read(whole[:length])
    for _ in range(20):
        broken = bytearray(whole[:200_000])
        broken[int(rng.integers(200_000))] ^= 0xFF
        with pytest.raises(InputError):
            SmallForest.read(bytes(broken))
    forest = SmallForest.read(whole)
    beyond = [
        {"pairs": np.full_like(forest.pairs, forest.anchors.shape[1])},
        {"anchors": np.full_like(forest.anchors, 68)},
    ]
    for change in beyond:
        with pytest.raises(InputError, match="no landmark predictor"):
            replace(forest, **change)
    path = tmp_path / "other.dat"
    path.write_bytes(b"something else")
    with pytest.raises(InputError, match=r"other\.dat is no landmark predictor"):
        load_forest(path)
    for load in (load_forest, load_predictor):
        with pytest.raises(InputError, match="can't be read"):
            load(tmp_path / "none.dat")
