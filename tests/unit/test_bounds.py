"""Nothing that comes from outside leads compiled code beyond an array: photos, numbers, files of any kind.

Each case is an answer or a refusal by the project's own errors. `make test-bounds` runs this with bounds
checked, where a read or write outside an array is an error; without, it would go unseen as often as not.
"""

import io
import math
import os
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any, no_type_check

import jaxtyping
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic_face import make_model

from inversefacenet.camera import Placement
from inversefacenet.compilation import compiled
from inversefacenet.confidence import quality_block
from inversefacenet.crop import crop_face, face_mask, masked_crop, resample
from inversefacenet.downscale import box_average
from inversefacenet.editing import PhotoEditor
from inversefacenet.editing.compositing import compose
from inversefacenet.errors import FaceModelError, ImageError, InputError, InverseFaceNetError
from inversefacenet.evidence import evidence
from inversefacenet.forest_alignment import ForestAligner
from inversefacenet.forest_file import SmallForest
from inversefacenet.forest_kernel import predict
from inversefacenet.grey_patch import cut_grey
from inversefacenet.landmark_forest import MAGIC, LandmarkForest
from inversefacenet.landmarks import Face
from inversefacenet.metrics import measure
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import GROUPS, PARAMETER_COUNT, Parameters
from inversefacenet.patch_sampling import Frame, GreyBlocks
from inversefacenet.rasterizer import interpolate, rasterize, vertex_normals
from inversefacenet.reconstruction import Reconstructor
from inversefacenet.rendering import render
from inversefacenet.visualisation import face_picture, overlay

quick = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
many = settings(quick, max_examples=150)

SHAPES = [(1, 1), (1, 2000), (2000, 1), (2, 3), (16, 16), (37, 61), (240, 240)]

exponents = st.floats(-46, 39)
wild = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.builds(lambda sign, power: sign * 10.0**power, st.sampled_from([-1.0, 1.0]), st.floats(-300, 300)),
    st.sampled_from([0.0, -0.0, 2.0**31, -(2.0**31), 2.0**53, 2.0**63, -(2.0**63), 2.0**63 - 1024]),
    st.floats(-500, 500),
)
seeds = st.integers(0, 2**32 - 1)
shapes = st.sampled_from(SHAPES)


@pytest.fixture(scope="module", autouse=True)
def unchecked():
    """Nobody checks array shapes but the code itself, as in service."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@contextmanager
def answered_or_refused():
    """Numbers may overflow on their way, and be refused for it: no other error comes of them."""
    with np.errstate(all="ignore"):
        try:
            yield
        except InverseFaceNetError:
            return


@st.composite
def landmarks(draw):
    """68 finite points: a face's or any others, anywhere and of any size."""
    rng = np.random.default_rng(draw(seeds))
    points = rng.random((68, 2))
    if draw(st.booleans()):
        points[draw(st.integers(0, 67))] = draw(st.floats(-1e3, 1e3))
    if draw(st.booleans()):
        points = np.round(points * 3)  # many of them alike, or in a row
    if draw(st.booleans()):
        size, place = 10.0 ** draw(st.floats(-2, 4)), draw(st.floats(-1e4, 1e4))
    else:
        size, place = 10.0 ** draw(exponents), draw(st.sampled_from([0.0, -1e30, 1e11, 3e38]))
    with np.errstate(over="ignore"):
        return np.nan_to_num((points * size + place).astype(np.float32))


@st.composite
def parameters(draw):
    """Any finite parameters: each group of any size."""
    rng = np.random.default_rng(draw(seeds))
    vector = Parameters.neutral().vector()
    for group in GROUPS.values():
        if draw(st.booleans()):
            size = 10.0 ** draw(st.one_of(st.floats(-2, 3), exponents))
            vector[group] += np.clip(rng.standard_normal(vector[group].shape) * size, -3e38, 3e38)
    if draw(st.integers(0, 9)) == 0:
        vector[rng.integers(0, PARAMETER_COUNT)] = draw(st.sampled_from([3.4e38, -3.4e38, 1e30]))
    return Parameters.from_vector(np.nan_to_num(vector))


@cache
def model():
    """What fixtures would give: but those are shown in full where an example fails."""
    return make_model()


def picture(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


@given(landmarks(), shapes, seeds)
@many
def test_any_landmarks_on_any_photo(points, shape, seed):
    with answered_or_refused():
        crop = crop_face(picture(shape, seed), points)
        assert np.isfinite(crop.landmarks).all()
        assert not crop.image[~crop.mask].any()


@given(landmarks())
@quick
def test_any_landmarks_on_a_crop(points):
    with answered_or_refused():
        crop = masked_crop(picture((240, 240)), points)
        rendering = render(model(), Parameters.neutral())
        quality = measure(crop, rendering)
        evidence(Face((0.0, 0.0, 240.0, 240.0), 1.0, points, 0.0), crop, rendering, quality)
        quality_block(quality, 0.5)


@pytest.mark.skipif(os.environ.get("NUMBA_BOUNDSCHECK") != "1", reason="bounds aren't checked in this run")
def test_bounds_are_checked():
    @compiled
    @no_type_check
    def read(array: Any, index: Any) -> Any:
        return array[index]

    with pytest.raises(IndexError):
        read(np.zeros(3), 3)


def test_landmarks_that_are_one_point_in_all_but_name_are_refused():
    points = np.zeros((68, 2), np.float32)
    points[5] = 1e-45
    with pytest.raises(InputError, match="coincide"):
        crop_face(picture((50, 50)), points)


@given(st.lists(wild, min_size=4, max_size=4), seeds)
@quick
def test_a_mask_of_points_that_are_no_numbers(numbers, seed):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-50, 300, (68, 2))
    points[rng.integers(0, 68, 4), rng.integers(0, 2, 4)] = numbers
    with np.errstate(all="ignore"):
        assert face_mask(points).shape == (240, 240)


@given(wild, wild, wild, shapes)
@many
def test_any_square_of_a_photo(scale, left, top, shape):
    with answered_or_refused():
        try:
            assert resample(picture(shape), Placement(scale, (left, top)), 24).shape == (24, 24, 3)
        except ZeroDivisionError:
            assert scale == 0


def test_a_square_far_outside_is_black_and_one_without_end_is_refused():
    image = picture((30, 40))
    for offset in (-1e9, 1e9, -1e17, 1e17, 1e300):
        assert not resample(image, Placement(1.0, (offset, 0.0)), 24).any()
    for scale in (1e-9, 1e-300, math.nan, -1.0):
        with pytest.raises(InputError, match="far larger than the photo"):
            resample(image, Placement(scale, (0.0, 0.0)), 24)


@given(wild, wild, wild, shapes, st.sampled_from([1, 7, 84]))
@many
def test_any_grey_patch(left, top, scale, shape, size):
    with answered_or_refused():
        assert cut_grey(picture(shape), left, top, scale, size).shape == (size, size)


def test_a_patch_beside_the_photo_repeats_its_edge():
    image = picture((30, 40))
    image[:, -1] = 90
    for left in (41.0, 1e9, 1e17, 2.0**63, 1e300):
        assert (cut_grey(image, left, 3.0, 1.5, 10) == 90).all()


@given(shapes, st.integers(1, 40), st.integers(1, 40))
@quick
def test_a_small_picture_of_any_photo(shape, rows, columns):
    small = box_average(picture(shape), rows, columns)
    means = picture(shape).mean(axis=(0, 1))
    if rows == columns == 1 and max(shape) <= 4:
        np.testing.assert_allclose(small[:, 0, 0], means, atol=1)


def tiny_forest():
    """A predictor of two levels that moves the 68 points at random."""
    rng = np.random.default_rng(2)
    return SmallForest(
        mean=rng.random(136).astype(np.float32),
        anchors=rng.integers(0, 68, (2, 12), np.uint8),
        offsets=rng.uniform(-0.3, 0.3, (2, 12, 2)).astype(np.float32),
        pairs=rng.integers(0, 12, (2, 5, 3, 2), np.uint16),
        thresholds=rng.uniform(-60, 60, (2, 5, 3)).astype(np.float32),
        moves=rng.integers(-127, 128, (2, 5, 4, 136), np.int8),
        steps=rng.uniform(0, 0.001, (2, 5, 4)).astype(np.float32),
    )


@given(wild, wild, wild, wild, shapes)
@many
def test_landmarks_in_any_box_of_any_photo(x, y, side, roll, shape):
    forest = tiny_forest()
    with answered_or_refused():
        if not math.isfinite(roll):
            roll = 0.5
        frame = Frame(x, y, side, roll)
        blocks = GreyBlocks.around(picture(shape), frame, 0.9, 20.0)
        for near in (frame, frame.moved(1e3, -1e3), frame.moved(1e30, 1e30)):
            assert predict(forest, blocks, [near]).shape == (1, 68, 2)


def test_a_frame_that_is_nowhere_is_refused():
    for x, y, side in ((math.nan, 0.0, 9.0), (0.0, math.nan, 9.0), (0.0, 0.0, math.inf), (1e30, 0.0, 9.0)):
        with pytest.raises(ImageError, match="nowhere"):
            GreyBlocks.around(picture((9, 9)), Frame(x, y, side), 0.9, 20.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_whole_alignment_on_photos_of_any_shape(shape):
    forest = type("Loaded", (), {"arrays": tiny_forest(), "inner_radius": 0.3})()
    aligner = ForestAligner(lambda: forest)
    for box in ((0.0, 0.0, 1.0, 1.0), (-5000.0, -5000.0, 5000.0, 5000.0), (1e6, 1e6, 1e6 + 3, 1e6 + 3)):
        points, spread = aligner.align(picture(shape), box, 0.3)
        assert np.isfinite(points).all()
        assert math.isfinite(spread)


BROKEN_FORESTS = {
    "a pixel too many": lambda parts: {"pairs": parts["pairs"] + np.uint16(1)},
    "a landmark too many": lambda parts: {"anchors": np.full_like(parts["anchors"], 68)},
    "landmarks before the first": lambda parts: {"anchors": np.full((2, 12), -1, np.int8)},
    "pixels of no whole number": lambda parts: {"pairs": np.full((2, 5, 3, 2), np.nan, np.float32)},
    "half the offsets": lambda parts: {"offsets": parts["offsets"][:, :6]},
    "half the steps": lambda parts: {"steps": parts["steps"][:, :3]},
    "no extent": lambda parts: {"mean": np.ones_like(parts["mean"])},
    "no end": lambda parts: {"mean": np.full_like(parts["mean"], np.inf)},
    "a threshold that is no number": lambda parts: {"thresholds": np.full_like(parts["thresholds"], np.nan)},
    "a wild step": lambda parts: {"steps": np.full_like(parts["steps"], 1e30)},
    "nothing": lambda parts: {"anchors": np.zeros((0, 0), np.uint8)},
}


@pytest.mark.parametrize("case", BROKEN_FORESTS)
def test_forests_that_lead_outside_are_refused(case):
    forest = tiny_forest()
    parts = {name: getattr(forest, name) for name in forest.__dataclass_fields__}
    parts["pairs"][0, 0, 0, 0] = 11
    with pytest.raises(InputError, match="no landmark predictor"):
        SmallForest(**parts | BROKEN_FORESTS[case](parts))


@given(st.data())
@quick
def test_any_damage_to_a_packed_forest(data):
    rng = np.random.default_rng(data.draw(seeds))
    forest = LandmarkForest(
        mean=rng.random(136).astype(np.float32),
        anchors=rng.integers(0, 68, (2, 12), np.uint8),
        offsets=rng.uniform(-0.3, 0.3, (2, 12, 2)).astype(np.float32),
        first=rng.integers(0, 12, (2, 5, 3), np.uint16),
        second=rng.integers(0, 12, (2, 5, 3), np.uint16),
        thresholds=rng.uniform(-60, 60, (2, 5, 3)).astype(np.float32),
        leaves=rng.normal(0, 0.01, (2, 5, 4, 136)).astype(np.float32),
        inner_radius=0.3,
    )
    content = bytearray(forest.dlib_bytes())
    for place in rng.integers(0, len(content), data.draw(st.integers(0, 3))):
        content[place] = rng.integers(0, 256)
    blocks = GreyBlocks.around(picture((40, 40)), Frame(20.0, 20.0, 20.0), 0.9, 20.0)
    with answered_or_refused():
        read = SmallForest.read(bytes(content))
        if len(read.mean) == 136:
            predict(read, blocks, [blocks.frame])


def test_a_file_that_announces_more_than_it_holds_is_refused():
    head = bytes([1, 1, 2, 0, 136, 1, 1]) + bytes([2, 1, 128, 2, 1, 128]) * 136
    counts = bytes([2, 255, 255, 2, 255, 255, 2, 255, 0])
    with pytest.raises(InputError, match="no landmark predictor"):
        SmallForest.read(head + counts + bytes(5000))
    with pytest.raises(InputError):
        LandmarkForest.unpacked(MAGIC + b"nothing")


@given(parameters(), shapes, st.tuples(wild, wild, wild), st.booleans())
@many
def test_any_face_in_a_picture_of_any_shape(face, shape, place, fitted):
    scale, left, top = place
    with answered_or_refused():
        rendering = (
            render(model(), face, size=shape[0])
            if fitted
            else render(model(), face, placement=Placement(scale, (left, top)), shape=shape)
        )
        assert rendering.fragments.triangle.max() < len(model().triangles)
        interpolate(rendering.fragments, model().triangles, rendering.colours)


def test_a_vertex_at_the_cameras_own_depth_is_no_error(synthetic_model):
    geometry = synthetic_model.mean_geometry.copy()
    geometry[synthetic_model.landmarks[[8, 30]]] = (3.0, 4.0, 700.0)
    geometry[synthetic_model.triangles[40]] = (0.0, 0.0, 700.0)
    model = replace(synthetic_model, mean_geometry=geometry)
    with np.errstate(all="ignore"):
        render(model, Parameters.neutral(), placement=Placement(500.0, (60.0, 60.0)), shape=(120, 120))
        with pytest.raises(InputError, match="finite"):
            render(model, Parameters.neutral())


@given(parameters(), st.sampled_from([1, 15, 64]), st.booleans())
@quick
def test_a_picture_of_any_face(face, size, clay):
    with answered_or_refused():
        background = None if clay else (0, 0, 0)
        assert len(face_picture(model(), face, size, geometry=clay, background=background)) == size


class Known:
    """A detector and a network that know the answer."""

    name = "known"
    digest = "0" * 64

    def __init__(self, face, answer):
        self.face, self.answer = face, answer

    def detect(self, image, *, faces="largest", minimum_size=None, limit=None):
        return [self.face]

    def infer(self, crops, *, timeout=None):
        return np.stack([self.answer.vector()] * len(crops))


def reconstructed(model, image, points, answer):
    low, high = points.min(axis=0), points.max(axis=0)
    face = Face((*map(float, low), *map(float, high)), 1.0, points, 0.0)
    known = Known(face, answer)
    return Reconstructor(known, known, model).reconstruct(image)


@cache
def layout():
    return render(model(), Parameters.neutral(), size=60).landmarks


@given(parameters(), shapes, st.sampled_from([(0, 0), (-40, 5), (1900, -20), (20, 1900)]))
@quick
def test_any_answer_for_any_photo(answer, shape, place):
    points = layout() + np.array(place, np.float32)
    image = picture(shape)
    with answered_or_refused():
        found = reconstructed(model(), image, points, answer)[0]
        overlay(image, found)
        PhotoEditor(image, found).preview(Parameters.neutral(), 64)


@given(parameters(), shapes)
@quick
def test_any_edit_of_any_photo(edited, shape):
    image = picture(shape)
    with answered_or_refused():
        found = reconstructed(model(), image, layout(), Parameters.neutral())[0]
        editor = PhotoEditor(image, found)
        assert editor.preview(edited, 32).shape == (32, 32, 3)
        assert editor.edit(edited).shape == image.shape


@given(seeds, wild, st.sampled_from([(1, 1), (1, 9), (9, 1), (12, 17)]), st.booleans(), st.booleans())
@many
def test_any_field_on_any_picture(seed, value, shape, smooth, enlarged):
    rng = np.random.default_rng(seed)
    rows, columns = (max(1, side // 2) for side in shape) if enlarged else shape
    with np.errstate(all="ignore"):
        field = rng.normal(0, 3, (rows, columns, 9)).astype(np.float32)
        field[rng.random(field.shape) < 0.3] = np.float32(value)
        image = picture(shape)
        assert compose(image, field, columns / shape[1], smooth).shape == image.shape


def test_meshes_that_name_what_is_not_there_are_refused():
    points = np.zeros((3, 3), np.float32)
    for index in (-1, 3, 2**31 - 1):
        triangles = np.array([[0, 1, index]], np.int32)
        with pytest.raises(FaceModelError, match="does not have"):
            rasterize(points, triangles, 8, 8)
        with pytest.raises(FaceModelError, match="does not have"):
            vertex_normals(points, triangles)
    good = np.array([[0, 1, 2]], np.int32)
    fragments = rasterize(points, good, 8, 8)
    with pytest.raises(FaceModelError, match="does not have"):
        interpolate(fragments, good, points[:2])


def test_a_rendering_of_another_size_is_not_compared(synthetic_model):
    crop = masked_crop(picture((240, 240)))
    for size in (100, 480):
        with pytest.raises(ImageError, match="240 x 240"):
            measure(crop, render(synthetic_model, Parameters.neutral(), size=size))


def test_photos_without_pixels_are_refused():
    for shape in ((0, 5), (5, 0), (0, 0)):
        image = np.zeros((*shape, 3), np.uint8)
        for look in (
            lambda image: box_average(image, 4, 4),
            lambda image: cut_grey(image, 0.0, 0.0, 1.0, 4),
            lambda image: resample(image, Placement(1.0, (0.0, 0.0)), 4),
            lambda image: GreyBlocks.around(image, Frame(0.0, 0.0, 4.0), 0.9, 20.0),
        ):
            with pytest.raises(ImageError, match="8-bit RGB"):
                look(image)


@pytest.fixture(scope="module")
def stored(synthetic_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.npz"
    synthetic_model.save(path)
    with np.load(path) as archive:
        return dict(archive)


def loaded(arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return MorphableModel.from_bytes(stream.getvalue())


CHANGES = {
    "shorter": lambda array: array[:-1],
    "longer": lambda array: np.concatenate([array, array[:1]]),
    "one": lambda array: array[:1],
    "none": lambda array: array[:0],
    "flat": lambda array: array.reshape(-1),
    "a column less": lambda array: array[..., :-1],
    "no number": lambda array: np.full(array.shape, np.nan, np.float32),
    "no end": lambda array: np.full(array.shape, np.inf, np.float32),
    "negative": lambda array: np.full(array.shape, -1, np.int32),
    "large": lambda array: np.full(array.shape, 2**31 - 1, np.int64),
    "texts": lambda array: np.full(array.shape, "x"),
    "a scalar": lambda array: np.float32(1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_to_a_model_is_refused_or_harmless(stored, change):
    changed = 0
    for name, array in stored.items():
        try:
            arrays = stored | {name: CHANGES[change](array)}
        except (IndexError, ValueError):
            continue  # a scalar has no rows
        changed += 1
        with answered_or_refused():
            model = loaded(arrays)
            rendering = render(
                model, Parameters.neutral(), placement=Placement(500.0, (60.0, 60.0)), size=120
            )
            vertex_normals(rendering.vertices, model.triangles)
    assert changed > 15 or change == "a column less"


@pytest.mark.parametrize("name", ["painted", "triangle_part", "vertex_part", "mean_reflectance"])
def test_a_model_whose_parts_are_of_different_length_is_refused(synthetic_model, stored, name):
    for change in ("shorter", "longer", "one"):
        with pytest.raises(FaceModelError, match=f"{name} must have shape"):
            loaded(stored | {name: CHANGES[change](stored[name])})
    with pytest.raises(FaceModelError, match="mouth"):
        loaded(stored | {"part_names": np.array(["skin", "lid", "other", "eye"])})
