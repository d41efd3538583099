import numpy as np
import pytest
from matplotlib.path import Path as Outline
from PIL import Image
from scipy.spatial import ConvexHull

from inversefacenet.camera import Placement
from inversefacenet.crop import (
    INNER_MOUTH,
    check_landmarks,
    convex_hull,
    crop_face,
    face_mask,
    fill_polygon,
    landmarks66,
    masked_crop,
)
from inversefacenet.errors import ImageError, LandmarkError
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render


@pytest.fixture
def points(synthetic_model):
    """68 landmarks in a crop."""
    return render(synthetic_model, Parameters.neutral()).landmarks


def boxed(points, left, top, right, bottom):
    """Stretch landmarks so that the box of the 66 becomes the given one."""
    low, high = landmarks66(points).min(axis=0), landmarks66(points).max(axis=0)
    unit = (points - low) / (high - low)
    return (unit * [right - left, bottom - top] + [left, top]).astype(np.float32)


def centres(size):
    x, y = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def test_the_two_inner_lip_corners_are_dropped(points):
    kept = landmarks66(points)
    assert kept.shape == (66, 2)
    np.testing.assert_array_equal(kept[60:], points[[61, 62, 63, 65, 66, 67]])


@pytest.mark.parametrize(
    "bad",
    [np.zeros((66, 2)), np.zeros((68, 3)), np.zeros(136), np.full((68, 2), np.nan), np.full((68, 2), np.inf)],
)
def test_unusable_landmarks_are_refused(bad):
    with pytest.raises(LandmarkError):
        check_landmarks(bad)


def test_landmarks_without_extent_are_refused():
    with pytest.raises(LandmarkError, match="coincide"):
        crop_face(np.zeros((9, 9, 3), np.uint8), np.full((68, 2), 4.0))


def test_landmarks_in_another_unit_than_pixels_are_refused(points):
    with pytest.raises(LandmarkError, match="photo's pixels"):
        crop_face(np.zeros((90, 90, 3), np.uint8), points * 1e5)


def test_a_square_far_larger_than_a_thin_photo_is_refused(points):
    photo = np.zeros((1, 9000, 3), np.uint8)
    assert crop_face(photo, boxed(points, 0, 0, 1900, 1900)).unmasked.shape == (240, 240, 3)
    for span in (2100, 9000, 17_000):
        with pytest.raises(LandmarkError, match="photo's pixels"):
            crop_face(photo, boxed(points, 0, 0, span, span))
    crop_face(np.zeros((3000, 4000, 3), np.uint8), boxed(points, -300, -500, 4400, 4200))


def pillow(photo, placement):
    """The square as Pillow resizes it, cut out of the photo with black around it."""
    left, top, right, bottom = placement.inverse().apply(np.array([[0.0, 0.0], [240, 240]])).ravel()
    x, y = int(np.floor(left)) - 1, int(np.floor(top)) - 1
    region = np.zeros((int(np.ceil(bottom)) + 1 - y, int(np.ceil(right)) + 1 - x, 3), np.uint8)
    height, width = photo.shape[:2]
    rows = np.arange(max(y, 0), min(y + region.shape[0], height))
    columns = np.arange(max(x, 0), min(x + region.shape[1], width))
    region[np.ix_(rows - y, columns - x)] = photo[np.ix_(rows, columns)]
    box = (left - x, top - y, right - x, bottom - y)
    return np.asarray(Image.fromarray(region).resize((240, 240), Image.Resampling.BILINEAR, box=box))


@pytest.mark.parametrize("span", [31.7, 120, 236.3, 238, 251.9, 476, 991.2, 1400])
@pytest.mark.parametrize("corner", [(40.3, 22.8), (-90.3, 20.1), (300, 700)])
def test_resampling_is_pillows_but_for_its_rounding_in_between(rng, points, span, corner):
    photo = rng.integers(0, 256, (1000, 1100, 3), dtype=np.uint8)
    x, y = corner
    crop = crop_face(photo, boxed(points, x, y, x + span, y + span))
    difference = crop.unmasked.astype(int) - pillow(photo, crop.placement)
    assert np.abs(difference).max() <= 1
    assert (difference != 0).mean() < 0.25
    assert abs(difference.mean()) < 0.1  # halves, which Pillow rounds up twice


def test_photos_of_any_layout_are_read_alike(rng, points):
    photo = rng.integers(0, 256, (300, 420, 3), dtype=np.uint8)
    expected = crop_face(photo, points)
    wide = np.zeros((310, 440, 4), np.uint8)
    wide[5:305, 9:429, :3] = photo
    fixed = photo.copy()
    fixed.flags.writeable = False
    for same in (wide[5:305, 9:429, :3], np.asfortranarray(photo), fixed):
        np.testing.assert_array_equal(crop_face(same, points).image, expected.image)
    assert photo.flags.writeable


def test_whole_pixels_are_copied_exactly(rng, points):
    photo = rng.integers(0, 256, (400, 420, 3), dtype=np.uint8)
    crop = crop_face(photo, boxed(points, 61, 41, 299, 279))
    assert crop.placement.scale == pytest.approx(1)
    np.testing.assert_array_equal(crop.unmasked, photo[40:280, 60:300])


def test_points_come_back_to_the_photo_exactly(rng, points):
    photo = np.zeros((300, 500, 3), np.uint8)
    original = boxed(points, 101.3, 57.9, 233.1, 211.7)
    crop = crop_face(photo, original)
    np.testing.assert_allclose(crop.placement.inverse().apply(crop.landmarks), original, atol=1e-4)


@pytest.mark.parametrize("scale", [0.35, 0.8, 1.0, 2.7])
def test_resampling_puts_pixel_centres_at_half_integers(points, scale):
    # A photo whose value is the position of the pixel's centre, in units that suit 8 bits.
    side, unit = int(700 / scale), 0.3 * scale
    ramp = np.arange(side) + 0.5
    photo = np.zeros((side, side, 3), np.uint8)
    photo[..., 0] = np.round(ramp[None, :] * unit)
    photo[..., 1] = np.round(ramp[:, None] * unit)
    crop = crop_face(photo, boxed(points, 200 / scale, 300 / scale, 420 / scale, 538 / scale))
    inner = centres(240)
    expected = (crop.placement.inverse().apply(inner) * unit).reshape(240, 240, 2)
    error = (crop.unmasked[..., :2] - expected)[3:-3, 3:-3]
    assert np.abs(error).max() <= 1.01
    assert np.abs(error.mean(axis=(0, 1))).max() < 0.05


def test_photo_survives_the_way_there_and_back(points):
    # A smooth photo, enlarged into the crop and read at the positions that its pixels map to.
    y, x = np.mgrid[:120, :120]
    smooth = 128 + 80 * np.sin(x / 17) * np.cos(y / 13)
    photo = np.repeat(np.round(smooth)[..., None], 3, axis=2).astype(np.uint8)
    crop = crop_face(photo, boxed(points, 30, 30, 90, 90))
    own = centres(120).reshape(120, 120, 2)[35:85, 35:85]
    index = np.floor(crop.placement.apply(own)).astype(int)
    back = crop.unmasked[index[..., 1], index[..., 0]]
    assert np.abs(back.astype(int) - photo[35:85, 35:85]).max() <= 3


def test_shrinking_averages_fine_patterns(points):
    y, x = np.mgrid[:1000, :1000]
    checkerboard = np.repeat((((x + y) % 2) * 255)[..., None], 3, axis=2).astype(np.uint8)
    crop = crop_face(checkerboard, boxed(points, 23.7, 11.3, 975.7, 963.3))
    inner = crop.unmasked[5:-5, 5:-5].astype(float)
    assert abs(inner.mean() - 127.5) < 1
    assert inner.std() < 4


@pytest.mark.parametrize(("dx", "dy"), [(-60, 0), (60, 0), (0, -60), (0, 60), (-60, 60)])
def test_what_lies_beyond_the_photo_is_black(points, dx, dy):
    photo = np.full((240, 240, 3), 200, np.uint8)
    crop = crop_face(photo, boxed(points, 1 + dx, 1 + dy, 239 + dx, 239 + dy))
    expected = np.zeros((240, 240), np.uint8)
    rows = slice(max(-dy, 0), 240 - max(dy, 0))
    columns = slice(max(-dx, 0), 240 - max(dx, 0))
    expected[rows, columns] = 200
    np.testing.assert_array_equal(crop.unmasked[..., 0], expected)


@pytest.mark.parametrize(("dx", "dy"), [(-260, 0), (400, 0), (0, -260), (0, 400), (-250, -250)])
def test_a_face_wholly_beyond_the_photo_is_black(points, dx, dy):
    photo = np.full((300, 320, 3), 200, np.uint8)
    crop = crop_face(photo, boxed(points, dx, dy, 238 + dx, 238 + dy))
    assert not crop.unmasked.any()


def test_outside_the_mask_the_crop_is_black_and_inside_it_is_the_photo(rng, points):
    photo = rng.integers(1, 256, (300, 300, 3), dtype=np.uint8)
    crop = crop_face(photo, points)
    assert not crop.image[~crop.mask].any()
    np.testing.assert_array_equal(crop.image[crop.mask], crop.unmasked[crop.mask])
    assert 0.5 < crop.mask.mean() < 0.95


def test_a_rendered_face_is_cropped_to_itself(synthetic_model):
    rendering = render(synthetic_model, Parameters.neutral())
    crop = crop_face(rendering.image, rendering.landmarks)
    difference = crop.unmasked.astype(int) - rendering.image
    assert np.abs(difference).max() <= 1
    np.testing.assert_allclose(crop.landmarks, rendering.landmarks, atol=1e-3)


def test_mask_is_the_hull_less_the_inner_mouth(points):
    hull = landmarks66(points)[ConvexHull(landmarks66(points)).vertices]
    inside_hull = Outline(hull).contains_points(centres(240)).reshape(240, 240)
    inside_mouth = Outline(points[list(INNER_MOUTH)]).contains_points(centres(240)).reshape(240, 240)
    assert inside_mouth.sum() > 50
    mask = face_mask(points)
    assert (mask != (inside_hull & ~inside_mouth)).sum() <= 2


def test_mask_scales_with_the_crop(points):
    small = face_mask(points / 2, 120)
    large = face_mask(points)
    assert small.shape == (120, 120)
    assert small.mean() == pytest.approx(large.mean(), abs=0.01)


def plain_mask(points, size):
    hull = fill_polygon(convex_hull(landmarks66(points)), size)
    return hull & ~fill_polygon(points[list(INNER_MOUTH)].astype(float), size)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_mask_is_what_the_plain_functions_fill(rng, points, kind):
    for _ in range(60):
        # Of all sizes, partly or wholly outside.
        moved = (points * rng.uniform(0.05, 3) + rng.uniform(-300, 200, 2)).astype(kind)
        moved += rng.normal(scale=rng.uniform(0, 9), size=(68, 2)).astype(kind)
        np.testing.assert_array_equal(face_mask(moved, 96), plain_mask(moved, 96))
    # Whole and half numbers: points that coincide, level edges, centres on edges.
    for _ in range(60):
        coarse = (rng.integers(-4, 40, (68, 2)) / 2).astype(kind)
        np.testing.assert_array_equal(face_mask(coarse, 16), plain_mask(coarse, 16))


@pytest.mark.parametrize("shift", [1e9, -1e9, 1e30, -1e30])
def test_a_mask_far_beyond_the_picture_is_empty(points, shift):
    for offset in ([shift, 0], [0, shift], [shift, shift]):
        assert not face_mask(points + np.float32(offset), 32).any()


@pytest.mark.parametrize("count", [3, 4, 10, 66, 500])
def test_hull_agrees_with_scipy(rng, count):
    for _ in range(20):
        cloud = rng.normal(size=(count, 2))
        expected = {tuple(p) for p in cloud[ConvexHull(cloud).vertices]}
        assert {tuple(p) for p in convex_hull(cloud)} == expected


def test_hull_goes_round_and_leaves_out_points_on_its_sides():
    square = np.array([[0, 0], [2, 0], [2, 2], [0, 2], [1, 0], [2, 1], [1, 1], [0, 0], [2, 2]], float)
    corners = convex_hull(square)
    assert corners.tolist() in ([[0, 0], [2, 0], [2, 2], [0, 2]], [[0, 0], [0, 2], [2, 2], [2, 0]])


@pytest.mark.parametrize("cloud", [[[1, 1]], [[1, 1], [1, 1]], [[0, 0], [3, 1]], [[0, 0], [1, 1], [2, 2]]])
def test_hull_of_points_without_area_fills_nothing(cloud):
    corners = convex_hull(np.array(cloud, float))
    assert not fill_polygon(corners, 6).any()


def test_filled_polygons_agree_with_matplotlib(rng):
    for corners in (3, 5, 12):
        for _ in range(15):
            # Star-shaped, mostly concave, partly beyond the picture.
            angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
            radius = rng.uniform(5, 40, corners)
            outline = 24 + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
            expected = Outline(outline).contains_points(centres(48)).reshape(48, 48)
            np.testing.assert_array_equal(fill_polygon(outline, 48), expected)


def test_polygons_side_by_side_share_no_pixel_and_leave_none():
    # All corners on pixel centres: the hardest case for a rule about edges.
    left = np.array([[2.5, 2.5], [7.5, 2.5], [5.5, 9.5], [2.5, 9.5]])
    right = np.array([[7.5, 2.5], [12.5, 2.5], [12.5, 9.5], [5.5, 9.5]])
    whole = np.array([[2.5, 2.5], [12.5, 2.5], [12.5, 9.5], [2.5, 9.5]])
    first, second = fill_polygon(left, 16), fill_polygon(right, 16)
    assert not (first & second).any()
    np.testing.assert_array_equal(first | second, fill_polygon(whole, 16))
    assert fill_polygon(whole, 16).sum() == 70


def test_crossing_outlines_follow_the_even_odd_rule():
    bow = np.array([[0, 0], [10, 10], [10, 0], [0, 10]], float)
    filled = fill_polygon(bow, 10)
    assert filled[5, 1]
    assert filled[5, 8]
    assert not filled[1, 5]
    assert not filled[8, 5]


def test_a_crop_that_is_one_already_is_taken_as_it_is(synthetic_model):
    rendering = render(synthetic_model, Parameters.neutral())
    cut = crop_face(rendering.image, rendering.landmarks)
    again = masked_crop(cut.unmasked, cut.landmarks)
    np.testing.assert_array_equal(again.image, cut.image)
    np.testing.assert_array_equal(again.mask, cut.mask)
    unknown = masked_crop(cut.image)
    assert np.isnan(unknown.landmarks).all()
    np.testing.assert_array_equal(unknown.mask, cut.image.any(axis=2))
    assert unknown.placement == Placement(1.0, (0.0, 0.0))


@pytest.mark.parametrize("shape", [(240, 241, 3), (480, 480, 3)])
def test_a_crop_of_another_size_is_refused(shape):
    with pytest.raises(ImageError, match="A crop has 240 x 240 pixels"):
        masked_crop(np.ones(shape, np.uint8))


def test_a_black_crop_is_refused():
    with pytest.raises(ImageError, match="shows no face"):
        masked_crop(np.zeros((240, 240, 3), np.uint8))
