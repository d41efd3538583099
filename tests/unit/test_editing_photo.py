from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from inversefacenet.camera import Placement
from inversefacenet.editing import PhotoEditor, parse_edits
from inversefacenet.errors import ImageError, LandmarkError
from inversefacenet.landmarks import Face
from inversefacenet.parameters import ILLUMINATION, REFLECTANCE, Parameters
from inversefacenet.reconstruction import Reconstruction, Reconstructor
from inversefacenet.rendering import render

FACE_SIZE = 150
HEIGHT, WIDTH = 330, 580
LEFT, TOP = 215.0, 90.0


class Known:
    """A detector and a network that know the answer."""

    name = "known"
    digest = "0" * 64

    def __init__(self, face: Face, parameters: Parameters) -> None:
        self.face = face
        self.parameters = parameters

    def detect(self, image, *, faces="largest", minimum_size=None, limit=None):
        return [self.face]

    def infer(self, crops, *, timeout=None):
        return np.stack([self.parameters.vector()] * len(crops))


@pytest.fixture(scope="module")
def model(default_model):
    return default_model


@pytest.fixture(scope="module")
def parameters(model) -> Parameters:
    vector = Parameters.neutral().vector()
    vector[:3] = 0.1, 0.05, 0.05
    vector[ILLUMINATION][:3] = 0.8
    vector[ILLUMINATION][6:9] = 0.2
    vector[ILLUMINATION][9:12] = -0.08
    return Parameters.from_vector(vector)


@pytest.fixture(scope="module")
def placement(model, parameters) -> Placement:
    fitted = render(model, parameters, size=FACE_SIZE).placement
    return fitted.then(Placement(1.0, (LEFT, TOP)))


def rendered(model, parameters, placement):
    """A photo of the face before a blue wall with a pattern, and where the face is."""
    drawn = render(model, parameters, placement=placement, shape=(HEIGHT, WIDTH))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    wall = np.stack([40 + rows // 16 % 2 * 20, 60 + columns // 16 % 2 * 20, 0 * rows + 170], axis=2)
    return np.where(drawn.mask[..., None], drawn.image, wall.astype(np.uint8)), drawn


@pytest.fixture(scope="module")
def photo(model, parameters, placement) -> np.ndarray:
    return rendered(model, parameters, placement)[0]


@pytest.fixture(scope="module")
def reconstruction(model, parameters, placement, photo) -> Reconstruction:
    landmarks = rendered(model, parameters, placement)[1].landmarks
    face = Face((0.0, 0.0, 1.0, 1.0), 1.0, landmarks.astype(np.float32))
    known = Known(face, parameters)
    (found,) = Reconstructor(known, known, model).reconstruct(photo)
    return found


@pytest.fixture(scope="module")
def editor(photo, reconstruction) -> PhotoEditor:
    return PhotoEditor(photo, reconstruction)


def shrunk(mask: np.ndarray, by: int) -> np.ndarray:
    """Take so many pixels off a mask's edge."""
    outside = Image.fromarray(np.pad(~mask, by, constant_values=True)).convert("L")
    return ~(np.asarray(outside.filter(ImageFilter.MaxFilter(2 * by + 1)))[by:-by, by:-by] > 0)


def edits(model, *spec):
    return parse_edits(list(spec), model)


def difference(first: np.ndarray, second: np.ndarray, where: np.ndarray) -> float:
    """Mean difference in levels."""
    return float(np.abs(first.astype(int) - second)[where].mean())


def test_parameters_beyond_any_face_are_refused(editor, parameters):
    for group in ("illumination", "shape", "expression"):
        for size in (1e30, 3e38):
            wrong = replace(parameters, **{group: np.full_like(getattr(parameters, group), size)})
            with np.errstate(all="ignore"), pytest.raises(LandmarkError, match="so large"):
                editor.edit(wrong)


def test_no_edit_returns_the_photos_bytes(editor, model, photo, parameters):
    np.testing.assert_array_equal(editor.edit([]), photo)
    np.testing.assert_array_equal(editor.edit(parameters), photo)
    nothing = edits(model, {"edit": "pose", "yaw": 0}, {"edit": "relight", "light": "left", "strength": 0})
    picture = editor.edit(nothing)
    np.testing.assert_array_equal(picture, photo)
    picture[:] = 0
    assert photo.any()


def test_the_estimated_light_changes_nothing_visible(editor, model, parameters, photo):
    given = {"edit": "relight", "coefficients": parameters.illumination.tolist()}
    assert np.abs(editor.edit(edits(model, given)).astype(int) - photo).max() <= 1
    nearly = replace(parameters, illumination=parameters.illumination * np.float32(1.0005))
    assert np.abs(editor.edit(nearly).astype(int) - photo).max() <= 1


@pytest.mark.parametrize("name", ["left", "right", "top", "sunset"])
def test_a_relit_photo_is_the_face_in_the_new_light(editor, model, placement, photo, name):
    spec = edits(model, {"edit": "relight", "light": name})
    expected, drawn = rendered(model, editor.edited(spec), placement)
    inside = shrunk(drawn.model_mask, 4)
    picture = editor.edit(spec)
    assert difference(photo, expected, inside) > 10
    assert difference(picture, expected, inside) < 0.2 * difference(photo, expected, inside)
    # Nothing comes out burnt or black that shouldn't.
    assert np.percentile(np.abs(picture.astype(int) - expected)[inside], 99) < 40


def test_other_skin_is_the_face_with_that_skin(editor, model, parameters, placement, photo):
    vector = parameters.vector()
    vector[REFLECTANCE][:4] += 0.7, -0.5, 0.8, -0.6
    new = Parameters.from_vector(vector)
    expected, drawn = rendered(model, new, placement)
    inside = shrunk(drawn.model_mask, 4)
    assert difference(editor.edit(new), expected, inside) < 0.2 * difference(photo, expected, inside)


@pytest.mark.parametrize(
    "spec",
    [
        {"edit": "pose", "yaw": 8},
        {"edit": "pose", "pitch": -8},
        {"edit": "pose", "roll": 10},
        {"edit": "expression", "units": {"mouthSmileLeft": 1, "mouthSmileRight": 1}},
        {"edit": "expression", "units": {"browInnerUp": 1, "mouthPucker": 0.7}},
        {"edit": "identity", "coefficients": {"0": 1.5, "2": -1.5}},
    ],
    ids=str,
)
def test_a_moved_face_is_the_rendering_of_the_edited_parameters(editor, model, placement, photo, spec):
    new = editor.edited(edits(model, spec))
    expected, drawn = rendered(model, new, placement)
    inside = shrunk(drawn.model_mask, 6)
    assert difference(editor.edit(new), expected, inside) < 0.4 * difference(photo, expected, inside)


def test_an_opened_mouth_is_dark_inside_and_the_chin_sinks(editor, model, placement, photo):
    new = editor.edited(edits(model, {"edit": "expression", "units": {"jawOpen": 0.7}}))
    _, drawn = rendered(model, new, placement)
    mouth = np.append(model.mouth_triangles, False)[drawn.fragments.triangle]
    picture = editor.edit(new)
    assert shrunk(mouth, 2).sum() > 50
    assert picture[shrunk(mouth, 2)].max() < 70
    assert photo[shrunk(mouth, 2)].min(axis=0)[0] > 80
    # Where the chin has sunk to there was wall: now there is skin.
    chin = np.round(drawn.landmarks[8]).astype(int)
    assert photo[chin[1] - 3, chin[0], 2] > photo[chin[1] - 3, chin[0], 0]
    assert picture[chin[1] - 3, chin[0], 0] > picture[chin[1] - 3, chin[0], 2]


def test_what_lies_far_off_keeps_its_bytes(editor, model, photo):
    spec = edits(
        model,
        {"edit": "pose", "yaw": 8},
        {"edit": "relight", "light": "left"},
        {"edit": "expression", "units": {"jawOpen": 0.5}},
    )
    picture = editor.edit(spec)
    changed = (picture != photo).any(axis=2)
    assert changed.any()
    assert not changed[:, :20].any()
    assert not changed[:, -20:].any()
    # Light ends at the face's edge: the wall beside it is another colour.
    relit = editor.edit(edits(model, {"edit": "relight", "light": "left"}))
    low, high = editor._subject.box
    wall = (photo[..., 2] == 170) & (np.abs(relit.astype(int) - photo).max(axis=2) > 3)
    assert wall.sum() < 0.02 * (high[0] - low[0]) * (high[1] - low[1])


def test_the_background_beside_a_moved_face_isnt_torn(editor, model, photo):
    for spec in ({"edit": "pose", "yaw": 10}, {"edit": "expression", "units": {"jawOpen": 0.7}}):
        picture = editor.edit(edits(model, spec)).astype(int)
        # The wall's blue is constant: whatever isn't face must still have it, and no skin is left behind.
        new = editor.edited(edits(model, spec))
        surface = editor._surface(new)
        low, high = surface.screen[:, :2].min(axis=0), surface.screen[:, :2].max(axis=0)
        outside = np.ones(picture.shape[:2], bool)
        outside[int(low[1]) - 3 : int(high[1]) + 4, int(low[0]) - 3 : int(high[0]) + 4] = False
        assert np.abs(picture[outside][:, 2] - 170).max() <= 4


def test_the_photos_own_detail_stays(model, reconstruction, photo):
    rng = np.random.default_rng(0)
    speckled = np.clip(photo.astype(int) + rng.integers(-12, 13, (HEIGHT, WIDTH, 1)), 1, 254).astype(np.uint8)
    editor = PhotoEditor(speckled, reconstruction)
    relit = editor.edit(edits(model, {"edit": "relight", "light": "left", "strength": 0.6})).astype(float)
    inside = shrunk(reconstruction_mask(model, editor), 8)

    def detail(picture):
        blurred = np.asarray(
            Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).filter(ImageFilter.BoxBlur(3)), float
        )
        return (picture - blurred)[inside].mean(axis=1)

    assert np.corrcoef(detail(speckled.astype(float)), detail(relit))[0, 1] > 0.85


def reconstruction_mask(model, editor):
    drawn = render(
        model, editor.parameters, placement=editor.reconstruction.photo_placement, shape=(HEIGHT, WIDTH)
    )
    return drawn.model_mask


def test_a_preview_is_the_square_of_the_edited_photo(editor, model):
    spec = edits(model, {"edit": "relight", "light": "right"}, {"edit": "pose", "yaw": 6})
    left, top, side = editor.box
    assert left >= 0
    assert top >= 0
    assert left + side <= WIDTH
    assert top + side <= HEIGHT
    picture = editor.edit(spec)[top : top + side, left : left + side]
    preview = editor.preview(spec, side)
    inner = slice(side // 6, -side // 6)
    assert difference(preview[inner, inner], picture[inner, inner], ...) < 3
    small = editor.preview(spec, 64)
    assert small.shape == (64, 64, 3)
    reduced = np.asarray(Image.fromarray(preview).resize((64, 64), Image.Resampling.BOX))
    assert difference(small, reduced, ...) < 4


def test_a_preview_of_no_edit_is_the_photo(editor, photo):
    left, top, side = editor.box
    np.testing.assert_array_equal(editor.preview([], side), photo[top : top + side, left : left + side])


@pytest.mark.parametrize("size", [0, 15, 2049])
def test_previews_have_a_size(editor, size):
    with pytest.raises(ImageError, match="16 to 2048"):
        editor.preview([], size)


def test_an_edit_does_not_depend_on_the_edits_before(photo, reconstruction, model):
    first, again = PhotoEditor(photo, reconstruction), PhotoEditor(photo, reconstruction)
    jaw = edits(model, {"edit": "expression", "units": {"jawOpen": 0.5}})
    for spec in ({"edit": "relight", "light": "top"}, {"edit": "pose", "yaw": 5}, {"edit": "neutral"}):
        again.edit(edits(model, spec))
        again.preview(edits(model, spec), 100)
    np.testing.assert_array_equal(first.edit(jaw), again.edit(jaw))
    np.testing.assert_array_equal(first.preview(jaw, 100), again.preview(jaw, 100))


def test_a_face_that_is_a_little_off_is_taken_hold_of_by_its_landmarks(model, parameters, placement, photo):
    smiling = model.expression_from_units({"mouthSmileLeft": 0.5, "mouthSmileRight": 0.5, "jawOpen": 0.3})
    off = replace(parameters, expression=smiling, rotation=parameters.rotation + np.float32(0.03))
    landmarks = rendered(model, parameters, placement)[1].landmarks
    known = Known(Face((0.0, 0.0, 1.0, 1.0), 1.0, landmarks.astype(np.float32)), off)
    (found,) = Reconstructor(known, known, model).reconstruct(photo)
    editor = PhotoEditor(photo, found)
    before = np.linalg.norm(found.photo_landmarks()[17:] - landmarks[17:], axis=1).mean()
    held = editor._subject.surface.screen[model.landmarks, :2]
    after = np.linalg.norm(held[17:] - landmarks[17:], axis=1).mean()
    assert before > 1.5
    assert after < 0.4 * before


def test_landmarks_that_nobody_knows_are_no_hindrance(photo, reconstruction, model):
    unknown = replace(reconstruction.crop, landmarks=np.full((68, 2), np.nan, np.float32))
    editor = PhotoEditor(photo, replace(reconstruction, crop=unknown))
    np.testing.assert_allclose(
        editor._subject.surface.screen[:, :2], reconstruction.photo_points(), atol=0.05
    )
    assert (editor.edit(edits(model, {"edit": "relight", "light": "top"})) != photo).any()


def test_a_face_in_a_large_photo_is_edited_at_its_own_resolution(model, reconstruction, photo):
    large = np.asarray(Image.fromarray(photo).resize((5 * WIDTH, 5 * HEIGHT), Image.Resampling.BICUBIC))
    placed = reconstruction.crop.placement
    crop = replace(reconstruction.crop, placement=Placement(placed.scale / 5, placed.offset))
    editor = PhotoEditor(large, replace(reconstruction, crop=crop, photo_size=None))
    spec = edits(model, {"edit": "relight", "light": "left"}, {"edit": "pose", "yaw": 6})
    picture = editor.edit(spec)
    assert picture.shape == large.shape
    small = np.asarray(Image.fromarray(picture).resize((WIDTH, HEIGHT), Image.Resampling.BOX))
    expected = PhotoEditor(photo, reconstruction).edit(spec)
    inside = shrunk(reconstruction_mask(model, PhotoEditor(photo, reconstruction)), 6)
    assert difference(small, expected, inside) < 3


def test_a_face_cut_off_by_the_photos_border_can_be_edited(model, reconstruction, photo):
    cut = np.ascontiguousarray(photo[120:, 240:])
    placed = reconstruction.crop.placement
    shift = Placement(1.0, (240.0, 120.0)).then(placed)
    moved = replace(reconstruction, crop=replace(reconstruction.crop, placement=shift), photo_size=None)
    editor = PhotoEditor(cut, moved)
    for spec in ({"edit": "pose", "yaw": 10}, {"edit": "relight", "light": "right"}):
        assert (editor.edit(edits(model, spec)) != cut).any()
        assert editor.preview(edits(model, spec), 64).shape == (64, 64, 3)


def test_a_photo_without_the_face_is_refused(reconstruction, photo):
    corner = np.ascontiguousarray(photo[:20, :20])
    with pytest.raises(ImageError, match=f"20 x 20 pixels, .* reconstructed {WIDTH} x {HEIGHT}"):
        PhotoEditor(corner, reconstruction)
    with pytest.raises(ImageError, match="doesn't lie in this photo"):
        PhotoEditor(corner, replace(reconstruction, photo_size=None))


def test_parameters_that_lead_to_no_face_are_refused(editor, parameters):
    broken = replace(parameters, shape=np.full(128, 1e30, np.float32))
    with pytest.raises(LandmarkError), np.errstate(all="ignore"):
        editor.edit(broken)
