"""Landmark predictors as files: packed, dlib's, missing, damaged, and in the detector."""

import numpy as np
import pytest
from PIL import Image

from inversefacenet.dlib_models import import_dlib, load_predictor
from inversefacenet.errors import InputError
from inversefacenet.landmark_forest import MAGIC, LandmarkForest
from inversefacenet.landmarks import FaceDetector
from training.landmark_predictor.pack import main, read_dlib

BOX = (8, 8, 55, 55)


def train(points: int = 68):
    """A predictor that has learned next to nothing."""
    dlib, rng = import_dlib(), np.random.default_rng(5)
    pictures = [rng.integers(0, 256, (64, 64), dtype=np.uint8) for _ in range(6)]
    options = dlib.shape_predictor_training_options()
    options.cascade_depth, options.num_trees_per_cascade_level, options.tree_depth = 2, 4, 3
    options.feature_pool_size, options.oversampling_amount, options.num_threads = 12, 2, 1
    shapes = [
        dlib.full_object_detection(dlib.rectangle(*BOX), [dlib.point(*map(int, xy)) for xy in drawn])
        for drawn in rng.integers(8, 56, (6, points, 2))
    ]
    return dlib.train_shape_predictor(pictures, [[shape] for shape in shapes], options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("predictor") / "tiny.dat"
    train().save(str(path))
    return path


@pytest.fixture(scope="module")
def forest(trained):
    return read_dlib(trained.read_bytes(), 0.29)


def shape(predict, picture):
    parts = predict(picture, import_dlib().rectangle(*BOX)).parts()
    return np.array([(part.x, part.y) for part in parts])


def test_dlib_reads_what_was_read_from_dlib(trained, forest, tmp_path, rng):
    assert forest.leaves.shape == (2, 4, 8, 136)
    copy = tmp_path / "copy.dat"
    copy.write_bytes(forest.dlib_bytes())
    again = read_dlib(copy.read_bytes(), 0.29)
    for name, value in vars(forest).items():
        np.testing.assert_array_equal(getattr(again, name), value)
    old, new = load_predictor(trained).predict, load_predictor(copy).predict
    for picture in rng.integers(0, 256, (20, 64, 64), dtype=np.uint8):
        np.testing.assert_array_equal(shape(new, picture), shape(old, picture))


def test_packed_file_answers_nearly_the_same(trained, forest, tmp_path, rng):
    path = tmp_path / "tiny.ifnlm"
    assert main(["--predictor", str(trained), "--output", str(path), "--inner-radius", "0.29"]) == 0
    loaded = load_predictor(path)
    assert loaded.inner_radius == pytest.approx(0.29)
    usual = load_predictor(trained).predict
    pictures = rng.integers(0, 256, (20, 64, 64), dtype=np.uint8)
    distance = np.abs([shape(loaded.predict, one) - shape(usual, one) for one in pictures])
    assert distance.mean() < 0.6  # both round to whole pixels
    assert len(path.read_bytes()) < 0.5 * len(trained.read_bytes())


def test_coarser_steps_make_smaller_files_and_larger_errors(forest):
    sizes, errors = [], []
    for step in (0.01, 0.1, 1.0):
        content = forest.packed(step)
        sizes.append(len(content))
        errors.append(np.abs(LandmarkForest.unpacked(content).leaves - forest.leaves).mean())
    assert sizes == sorted(sizes, reverse=True)
    assert errors == sorted(errors)
    assert errors[0] < 0.02 * np.abs(forest.leaves).mean()
    exact = LandmarkForest.unpacked(forest.packed(0.01))
    np.testing.assert_array_equal(exact.thresholds, np.floor(forest.thresholds))
    np.testing.assert_array_equal(exact.first, forest.first)


def test_damaged_files_are_refused(forest, tmp_path):
    packed = forest.packed()
    for content in (b"", b"no predictor", packed[:-200], MAGIC + b"0" * 80):
        with pytest.raises(InputError):
            LandmarkForest.unpacked(content)
    path = tmp_path / "damaged.dat"
    for content in (b"", b"no predictor at all", forest.dlib_bytes()[:5000]):
        path.write_bytes(content)
        with pytest.raises(InputError, match="no landmark predictor"):
            load_predictor(path)
    with pytest.raises(InputError, match="ends early"):
        read_dlib(forest.dlib_bytes()[:5000], 0.3)


def test_missing_file_and_wrong_count_are_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.dat can't be read.*training\.landmark_predictor"):
        FaceDetector(predictor=tmp_path / "nowhere.dat").load()
    few = tmp_path / "few.dat"
    train(points=5).save(str(few))
    with pytest.raises(InputError, match="predicts 5 landmarks; 68"):
        FaceDetector(predictor=few).load()
    assert main(["--predictor", str(tmp_path / "no"), "--output", "x", "--inner-radius", "0.3"]) == 1


def test_detector_answers_by_the_predictor_that_it_is_given(trained, root):
    with Image.open(root / "examples" / "astronaut.png") as image:
        photo = np.asarray(image.convert("RGB"))
    box = (170.0, 60.0, 280.0, 170.0)
    usual = FaceDetector().landmarks_only(photo, box)
    given = FaceDetector(predictor=str(trained)).landmarks_only(photo, box)
    assert np.linalg.norm(usual - given, axis=1).mean() > 5
    np.testing.assert_array_equal(FaceDetector(predictor=trained).landmarks_only(photo, box), given)


def test_own_predictor_ships_and_finds_the_features(root):
    with Image.open(root / "examples" / "astronaut.png") as image:
        photo = np.asarray(image.convert("RGB").crop((100, 0, 356, 256)))
    usual = FaceDetector().detect(photo, faces="largest")[0]
    own = FaceDetector(predictor="open").landmarks_only(photo, usual.box)
    distance = np.linalg.norm(own - usual.landmarks, axis=1)
    eyes = np.linalg.norm(usual.landmarks[45] - usual.landmarks[36])
    assert distance[17:].mean() < 0.09 * eyes
    assert distance[:17].mean() < 0.18 * eyes
