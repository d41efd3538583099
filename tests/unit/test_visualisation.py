from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from inversefacenet import visualisation
from inversefacenet.camera import Placement
from inversefacenet.colour import to_uint8
from inversefacenet.crop import face_mask
from inversefacenet.landmarks import Face
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import ILLUMINATION, Parameters
from inversefacenet.reconstruction import Reconstruction, Reconstructor
from inversefacenet.rendering import Rendering, render
from inversefacenet.visualisation import (
    PICTURE_SIZE,
    comparison_strip,
    contact_sheet,
    contour_picture,
    crop_overlay_picture,
    face_picture,
    geometry_picture,
    overlay,
)

FACE_SIZE = 150
LEFT, TOP = 60.0, 45.0
HEIGHT, WIDTH = 240, 280


def grown(mask: np.ndarray, by: int) -> np.ndarray:
    """Widen a mask by so many pixels in all directions."""
    padded = Image.fromarray(np.pad(mask, by)).convert("L")
    return np.asarray(padded.filter(ImageFilter.MaxFilter(2 * by + 1)))[by:-by, by:-by] > 0


def shrunk(mask: np.ndarray, by: int) -> np.ndarray:
    """Take so many pixels off a mask's edge."""
    return ~grown(~mask, by)


class Known:
    """A detector and a network that know the answer."""

    name = "known"
    digest = "0" * 64

    def __init__(self, faces: list[Face], parameters: Parameters) -> None:
        self.faces = faces
        self.parameters = parameters

    def detect(self, image, *, faces="largest", minimum_size=None, limit=None):
        return self.faces[:1] if faces == "largest" else self.faces

    def infer(self, crops, *, timeout=None):
        return np.stack([self.parameters.vector()] * len(crops))


@pytest.fixture(scope="module")
def model(default_model) -> MorphableModel:
    return default_model


@pytest.fixture(scope="module")
def parameters(model) -> Parameters:
    vector = Parameters.neutral().vector()
    vector[:3] = 0.25, 0.05, 0.1
    vector[131:195] = model.expression_from_units({"jawOpen": 0.5})
    vector[ILLUMINATION][6:9] = 0.2
    return Parameters.from_vector(vector)


@pytest.fixture(scope="module")
def truth(model, parameters) -> Rendering:
    """The face in the photo's frame."""
    fitted = render(model, parameters, size=FACE_SIZE).placement
    placement = fitted.then(Placement(1.0, (LEFT, TOP)))
    return render(model, parameters, placement=placement, shape=(HEIGHT, WIDTH))


def reconstruct(model, parameters, image, landmarks, answer=None) -> Reconstruction:
    face = Face((0.0, 0.0, 1.0, 1.0), 1.0, landmarks.astype(np.float32))
    known = Known([face], answer or parameters)
    (reconstruction,) = Reconstructor(known, known, model).reconstruct(image)
    return reconstruction


@pytest.fixture(scope="module")
def photo(truth) -> np.ndarray:
    """The rendered face over noise, so that every changed pixel shows."""
    noise = np.random.default_rng(0).integers(1, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    return np.where(truth.mask[..., None], truth.image, noise)


@pytest.fixture(scope="module")
def landmarks(truth) -> np.ndarray:
    return truth.landmarks


@pytest.fixture(scope="module")
def reconstruction(model, parameters, photo, landmarks) -> Reconstruction:
    return reconstruct(model, parameters, photo, landmarks)


def test_overlay_changes_the_painted_face_alone(reconstruction, photo, truth):
    drawn = overlay(np.zeros_like(photo), reconstruction).any(axis=2)
    # The region's edge is smoothed by up to a triangle.
    assert not (drawn & ~grown(truth.model_mask, 5)).any()
    assert drawn[shrunk(truth.model_mask, 5)].all()
    assert (drawn ^ truth.model_mask).sum() < 0.04 * truth.model_mask.sum()
    np.testing.assert_array_equal(overlay(photo, reconstruction)[~drawn], photo[~drawn])


def test_overlay_of_the_truth_gives_back_the_photo(reconstruction, photo, truth):
    inside = shrunk(truth.model_mask, 4)
    difference = np.abs(overlay(photo, reconstruction).astype(int) - photo)[inside]
    assert np.median(difference) <= 1
    assert difference.mean() < 2


def test_the_mouth_s_interior_stays_the_photo_s(reconstruction, model, photo, truth):
    mouth = shrunk(model.mouth_triangles[truth.fragments.triangle] & truth.mask, 1)
    assert mouth.sum() > 50
    white = np.full_like(photo, 255)
    assert (overlay(white, reconstruction)[mouth] == 255).all()


def test_edges_are_blended_in_linear_light(reconstruction, model, parameters, photo, landmarks):
    vector = parameters.vector()
    vector[ILLUMINATION] = 0
    unlit = reconstruct(model, parameters, photo, landmarks, Parameters.from_vector(vector))
    picture = overlay(np.full_like(photo, 255), unlit)
    # A black face over white: with four samples a pixel only quarters of linear light can occur.
    levels = set(to_uint8(np.array([0, 0.25, 0.5, 0.75, 1], np.float32)).tolist())
    assert set(np.unique(picture).tolist()) == levels
    assert levels == {0, 137, 188, 225, 255}


def test_strips_and_regions_do_not_show(reconstruction, photo, monkeypatch):
    whole = overlay(photo, reconstruction)
    monkeypatch.setattr(visualisation, "_STRIP", 4000)
    # A strip's own coordinates round otherwise in float32: by one level, in a few pixels.
    difference = np.abs(overlay(photo, reconstruction).astype(int) - whole)
    assert difference.max() <= 1
    assert difference.astype(bool).mean() < 1e-3


def test_a_large_face_is_drawn_with_one_sample(reconstruction, photo, monkeypatch):
    fine = overlay(photo, reconstruction)
    monkeypatch.setattr(visualisation, "_FINE_LIMIT", 100)
    coarse = overlay(photo, reconstruction)
    assert (coarse != fine).any()
    assert np.abs(coarse.astype(int) - fine).mean() < 2


@pytest.mark.parametrize(("left", "top"), [(90, 0), (0, 120), (110, 60)])
def test_a_face_that_reaches_out_of_the_photo(reconstruction, model, parameters, photo, landmarks, left, top):
    part = photo[top:, left:]
    cut = reconstruct(model, parameters, part, landmarks - np.array([left, top], np.float32))
    difference = np.abs(overlay(part, cut).astype(int) - overlay(photo, reconstruction)[top:, left:])
    # Rounding of the placement may move a sample on an edge.
    assert (difference > 2).mean() < 0.005


def test_a_face_outside_the_photo_leaves_it_as_it_is(model, parameters, photo, landmarks):
    away = reconstruct(model, parameters, photo, landmarks + np.float32(1000))
    picture = overlay(photo, away)
    np.testing.assert_array_equal(picture, photo)
    assert picture is not photo


def test_the_first_of_several_faces_is_on_top(model, parameters, photo, landmarks, reconstruction):
    vector = parameters.vector()
    vector[ILLUMINATION] = 0
    dark = reconstruct(model, parameters, photo, landmarks, Parameters.from_vector(vector))
    cheek = (130, 160)
    alone = overlay(photo, reconstruction)[cheek]
    assert alone.min() > 20
    np.testing.assert_array_equal(overlay(photo, [reconstruction, dark])[cheek], alone)
    assert overlay(photo, [dark, reconstruction])[cheek].max() == 0


def test_overlay_does_not_write_into_the_photo(reconstruction, photo):
    before = photo.copy()
    overlay(photo, reconstruction)
    np.testing.assert_array_equal(photo, before)


def outlines(reconstruction: Reconstruction) -> list[np.ndarray]:
    """Bands of some pixels along the edges of the input's and the model's mask."""
    scale = PICTURE_SIZE // 240
    masks = (
        face_mask(reconstruction.crop.landmarks * np.float32(scale), PICTURE_SIZE),
        reconstruction.rendering.model_mask.repeat(scale, 0).repeat(scale, 1),
    )
    return [grown(mask, 4) & ~shrunk(mask, 4) for mask in masks]


def test_contours_are_red_for_the_input_and_green_for_the_model(model, parameters, photo, landmarks):
    # A detector that saw the face narrower at the jaw and lower at the brows: the outlines part.
    wrong = landmarks.copy()
    wrong[4:13, 0] += (landmarks[8, 0] - wrong[4:13, 0]) * np.float32(0.25)
    wrong[17:27, 1] += 8
    black = reconstruct(model, parameters, np.zeros_like(photo), wrong)
    picture = contour_picture(black).astype(int)
    red = (picture[..., 0] > 150) & (picture[..., 1] < 110)
    green = (picture[..., 1] > 150) & (picture[..., 0] < 110)
    input_band, model_band = outlines(black)
    for line, band in ((red, input_band), (green, model_band)):
        assert line.sum() > 2 * PICTURE_SIZE
        # Slits narrower than a crop's pixel show only in the finer picture.
        assert line[band].sum() > 0.95 * line.sum()
    assert red[model_band].sum() < 0.8 * red.sum()
    untouched = ~grown(picture.any(axis=2), 1)
    assert untouched.mean() > 0.8


def test_geometry_is_grey_and_knows_nothing_of_skin_and_light(
    reconstruction, model, parameters, photo, landmarks
):
    picture = geometry_picture(reconstruction)
    assert picture.shape == (PICTURE_SIZE, PICTURE_SIZE, 3)
    np.testing.assert_array_equal(picture[..., 0], picture[..., 1])
    np.testing.assert_array_equal(picture[..., 0], picture[..., 2])
    other = replace(
        parameters,
        reflectance=np.full(128, 0.5, np.float32),
        illumination=np.full((9, 3), 0.1, np.float32),
    )
    same = reconstruct(model, parameters, photo, landmarks, other)
    np.testing.assert_array_equal(geometry_picture(same), picture)
    assert np.ptp(picture[picture > 0]) > 60


def test_the_strip_sets_four_pictures_side_by_side(reconstruction):
    strip = comparison_strip(reconstruction, 120)
    assert strip.shape == (120, 480, 3)
    np.testing.assert_array_equal(strip[:, 120:240], crop_overlay_picture(reconstruction, 120))
    np.testing.assert_array_equal(strip[:, 240:360], geometry_picture(reconstruction, 120, over_crop=True))
    np.testing.assert_array_equal(strip[:, 360:], contour_picture(reconstruction, 120))


def test_the_face_picture_is_the_rendering_with_smooth_edges(model, parameters):
    smooth = face_picture(model, parameters, 200).astype(int)
    plain = render(model, parameters, 200)
    difference = np.abs(smooth - plain.image).max(axis=2)
    assert (difference > 24).mean() < 0.06
    assert np.median(difference[plain.mask]) <= 1
    assert smooth.shape == (200, 200, 3)


def test_contact_sheets_fill_row_by_row():
    pictures = [np.full((4, 6, 3), grey, np.uint8) for grey in (10, 20, 30, 40, 50)]
    sheet = contact_sheet(pictures, columns=3)
    assert sheet.shape == (8, 18, 3)
    assert sheet[::4, ::6, 0].tolist() == [[10, 20, 30], [40, 50, 0]]
