"""Pictures that show how well a reconstruction fits (Kim et al. 2018, Figure 9).

Convention:
    Faces are drawn with several samples a pixel, averaged and blended in linear light, encoded once.
    Only the painted region is laid over a photo (Section 4.2), its edge smoothed: the region is made of
    whole triangles and would end in teeth. Inside the mouth the photo stays: the input's mask leaves out what
    six inner points of the lips enclose (the corners, 60 and 64, are none of the 66 points). Pixels that no
    face touches keep the photo's bytes. The contours show the input's mask and that same smoothed region,
    which differs from the mask that the IoU is measured with by a part of a triangle along brows and temples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image, ImageFilter

from inversefacenet.camera import CROP_SIZE, Placement, fit_placement, landmark_points, project
from inversefacenet.colour import to_linear, to_uint8
from inversefacenet.crop import face_mask, landmarks66
from inversefacenet.errors import LandmarkError
from inversefacenet.illumination import irradiance
from inversefacenet.morphable_model import MOUTH_PART, MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rasterizer import Fragments, interpolate, rasterize, vertex_normals
from inversefacenet.reconstruction import Reconstruction
from inversefacenet.rendering import pose_and_shade, screen_points

PICTURE_SIZE: Final = 480
"""Side in pixels of the crop's pictures: twice the crop, so that lines stay thin and crisp."""

INPUT_OUTLINE: Final = (255, 40, 40)
MODEL_OUTLINE: Final = (40, 235, 60)
PLAIN_BACKGROUND: Final = (0, 0, 0)

_SAMPLES: Final = 2
# Faces larger than this many pixels are drawn with one sample each: their edges are fine enough.
_FINE_LIMIT: Final = 4_000_000
# Pixels drawn at once: bounds the memory that a face in a photo of any size takes.
_STRIP: Final = 1_000_000
# How often the painted region's weights are averaged over the triangles around a vertex.
_SMOOTHINGS: Final = 3
_CLAY: Final = 0.5
_MOUTH_CLAY: Final = 0.06
# A lamp above the viewer's left shoulder over ambient light, as irradiance coefficients in the order of
# `inversefacenet.illumination`; white, so that only the geometry is seen.
_STUDIO_LIGHT: Final = np.outer(
    np.array([0.40, 0.14, 0.22, -0.12, -0.03, 0.04, 0.04, -0.04, 0.0], np.float32), np.ones(3, np.float32)
)


_Piece = tuple[slice, slice, Float32[np.ndarray, "height width 3"], Float32[np.ndarray, "height width"]]


@dataclass(frozen=True, eq=False)
class _Figure:
    """A face ready to be drawn: vertices in camera axes, their linear colours, and where it lies."""

    model: MorphableModel
    vertices: Float32[np.ndarray, "vertices 3"]
    colours: Float32[np.ndarray, "vertices 3"]
    placement: Placement

    def box(self, painted_only: bool) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of what would be drawn."""
        seen = self.model.painted_vertices if painted_only else slice(None)
        points = self.placement.apply(project(self.vertices[seen]))
        low, high = points.min(axis=0), points.max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def face_picture(
    model: MorphableModel,
    parameters: Parameters,
    size: int = CROP_SIZE,
    *,
    geometry: bool = False,
    background: tuple[int, int, int] | None = PLAIN_BACKGROUND,
) -> UInt8[np.ndarray, "size size channels"]:
    """Render a face, placed as in the crop, with smooth edges.

    Args:
        model: The face model.
        parameters: The face.
        size: Side of the picture in pixels.
        geometry: Draw grey clay in fixed light instead of skin in the face's own.
        background: sRGB of what the face doesn't cover; None leaves it transparent.

    Returns:
        An RGB picture; RGBA, not premultiplied, where the background is transparent.

    Raises:
        LandmarkError: If the parameters are so large that the face has no finite extent.
    """
    vertices, colours = pose_and_shade(model, parameters)
    if not (np.isfinite(project(vertices)).all() and np.isfinite(colours).all()):
        raise LandmarkError("The parameters are so large that they lead to no finite face.")
    landmarks = landmark_points(model, vertices, float(parameters.rotation[2]))
    placement = fit_placement(landmarks66(landmarks), size, margin=size / CROP_SIZE)
    if geometry:
        colours = _clay_colours(model, vertices)
    figure = _Figure(model, vertices, colours, placement)
    if background is None:
        return _cut_out(figure, size)
    return _draw(_plain(size, background), figure, painted_only=False)


def overlay(
    image: UInt8[np.ndarray, "height width 3"], reconstructions: Reconstruction | Sequence[Reconstruction]
) -> UInt8[np.ndarray, "height width 3"]:
    """Lay the painted faces over the uncropped photo; the first of several ends up on top.

    Args:
        image: The photo that was reconstructed.
        reconstructions: One face of it or several.
    """
    if isinstance(reconstructions, Reconstruction):
        reconstructions = [reconstructions]
    picture = image
    for reconstruction in reversed(reconstructions):
        figure = _figure(reconstruction, reconstruction.photo_placement)
        picture = _draw(picture, figure, painted_only=True)
    return picture


def lay_over(
    image: UInt8[np.ndarray, "height width 3"],
    model: MorphableModel,
    parameters: Parameters,
    placement: Placement,
) -> UInt8[np.ndarray, "height width 3"]:
    """Lay a painted face over a picture.

    Args:
        image: The picture.
        model: The face model.
        parameters: The face.
        placement: Image plane at unit distance to the picture's pixels.
    """
    figure = _Figure(model, *pose_and_shade(model, parameters), placement)
    return _draw(image, figure, painted_only=True)


def crop_overlay_picture(
    reconstruction: Reconstruction, size: int = PICTURE_SIZE
) -> UInt8[np.ndarray, "size size 3"]:
    """Lay the painted face over the enlarged crop."""
    figure = _figure(reconstruction, _enlarged(reconstruction.rendering.placement, size))
    return _draw(_enlarged_crop(reconstruction, size), figure, painted_only=True)


def contour_picture(
    reconstruction: Reconstruction, size: int = PICTURE_SIZE
) -> UInt8[np.ndarray, "size size 3"]:
    """Draw both masks' outlines on the enlarged crop: red the input's, green the model's (Figure 9)."""
    crop, rendering = reconstruction.crop, reconstruction.rendering
    samples = _SAMPLES * size
    if np.isfinite(crop.landmarks).all():
        input_mask = face_mask(crop.landmarks * (samples / CROP_SIZE), samples)
    else:  # a crop that came without its landmarks
        nearest = np.arange(samples) * CROP_SIZE // samples
        input_mask = crop.mask[np.ix_(nearest, nearest)]
    placement = _enlarged(rendering.placement, samples)
    fragments = rasterize(
        screen_points(rendering.vertices, placement), reconstruction.model.triangles, samples, samples
    )
    model_mask = _smooth_region(reconstruction.model, fragments, _painted_weights(reconstruction.model))
    picture = to_linear(_enlarged_crop(reconstruction, size))
    for mask, colour in ((input_mask, INPUT_OUTLINE), (model_mask, MODEL_OUTLINE)):
        alpha = _averaged(_outline(mask).astype(np.float32)[..., None], _SAMPLES)
        picture += alpha * (to_linear(np.array(colour, np.uint8)) - picture)
    return to_uint8(picture)


def geometry_picture(
    reconstruction: Reconstruction, size: int = PICTURE_SIZE, *, over_crop: bool = False
) -> UInt8[np.ndarray, "size size 3"]:
    """Draw the geometry alone, as grey clay in fixed light.

    Args:
        reconstruction: The face.
        size: Side of the picture in pixels.
        over_crop: Lay the painted region over the enlarged crop instead of the whole mesh over black.
    """
    model, rendering = reconstruction.model, reconstruction.rendering
    placement = _enlarged(rendering.placement, size)
    figure = _Figure(model, rendering.vertices, _clay_colours(model, rendering.vertices), placement)
    ground = _enlarged_crop(reconstruction, size) if over_crop else _plain(size)
    return _draw(ground, figure, painted_only=over_crop)


def comparison_strip(
    reconstruction: Reconstruction, size: int = PICTURE_SIZE
) -> UInt8[np.ndarray, "size width 3"]:
    """Set side by side: the crop, the face laid over it, its geometry, both contours (Figure 9)."""
    return np.concatenate(
        [
            _enlarged_crop(reconstruction, size),
            crop_overlay_picture(reconstruction, size),
            geometry_picture(reconstruction, size, over_crop=True),
            contour_picture(reconstruction, size),
        ],
        axis=1,
    )


def contact_sheet(
    pictures: Sequence[UInt8[np.ndarray, "height width 3"]], columns: int
) -> UInt8[np.ndarray, "rows_height columns_width 3"]:
    """Set pictures of one size in rows; what is left of the last row is black."""
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
    for index, picture in enumerate(pictures):
        top, left = index // columns * height, index % columns * width
        sheet[top : top + height, left : left + width] = picture
    return sheet


def _figure(reconstruction: Reconstruction, placement: Placement) -> _Figure:
    rendering = reconstruction.rendering
    return _Figure(reconstruction.model, rendering.vertices, rendering.colours, placement)


def _enlarged(placement: Placement, size: int) -> Placement:
    """Take a placement in the crop to one in a picture of the crop."""
    return placement.then(Placement(size / CROP_SIZE, (0.0, 0.0)))


def _enlarged_crop(reconstruction: Reconstruction, size: int) -> UInt8[np.ndarray, "size size 3"]:
    crop = Image.fromarray(reconstruction.crop.unmasked)
    return np.asarray(crop.resize((size, size), Image.Resampling.BICUBIC))


def _plain(size: int, colour: tuple[int, int, int] = PLAIN_BACKGROUND) -> UInt8[np.ndarray, "size size 3"]:
    return np.full((size, size, 3), colour, np.uint8)


def _clay_colours(
    model: MorphableModel, vertices: Float32[np.ndarray, "vertices 3"]
) -> Float32[np.ndarray, "vertices 3"]:
    inside = model.vertex_part == model.part_names.index(MOUTH_PART)
    clay = np.where(inside, _MOUTH_CLAY, _CLAY)[:, None]
    normals = vertex_normals(vertices, model.triangles)
    return (clay * irradiance(normals, _STUDIO_LIGHT)).astype(np.float32)


def _draw(
    ground: UInt8[np.ndarray, "height width 3"], figure: _Figure, *, painted_only: bool
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw a face over a copy of a picture."""
    picture = ground.copy()
    for strip, columns, light, alpha in _layers(figure, picture.shape[:2], painted_only):
        region = picture[strip, columns]
        touched = alpha > 0
        blended = light + (1 - alpha[..., None]) * to_linear(region)
        region[touched] = to_uint8(blended[touched])
    return picture


def _cut_out(figure: _Figure, size: int) -> UInt8[np.ndarray, "size size 4"]:
    """Draw a face over nothing; colours are those of the face alone, also where it covers a part."""
    picture = np.zeros((size, size, 4), np.uint8)
    for strip, columns, light, alpha in _layers(figure, (size, size), painted_only=False):
        region = picture[strip, columns]
        touched = alpha > 0
        region[touched, :3] = to_uint8(light[touched] / alpha[touched, None])
        region[touched, 3] = np.rint(255 * alpha[touched])
    return picture


def _layers(figure: _Figure, shape: tuple[int, int], painted_only: bool) -> Iterator[_Piece]:
    """Draw a face in strips, each with its rows, columns, light and coverage; see `_layer`."""
    height, width = shape
    left, top, right, bottom = figure.box(painted_only)
    columns = slice(max(int(np.floor(left)), 0), min(int(np.ceil(right)), width))
    rows = slice(max(int(np.floor(top)), 0), min(int(np.ceil(bottom)), height))
    if columns.start >= columns.stop or rows.start >= rows.stop:
        return
    area = (columns.stop - columns.start) * (rows.stop - rows.start)
    samples = _SAMPLES if area <= _FINE_LIMIT else 1
    weights = _painted_weights(figure.model) if painted_only else None
    for strip in _strips(rows, columns.stop - columns.start, samples):
        yield (strip, columns, *_layer(figure, strip, columns, samples, weights))


def _strips(rows: slice, width: int, samples: int) -> Iterator[slice]:
    step = max(_STRIP // (width * samples**2), 1)
    for top in range(rows.start, rows.stop, step):
        yield slice(top, min(top + step, rows.stop))


def _layer(
    figure: _Figure,
    rows: slice,
    columns: slice,
    samples: int,
    weights: Float32[np.ndarray, "vertices 1"] | None,
) -> tuple[Float32[np.ndarray, "height width 3"], Float32[np.ndarray, "height width"]]:
    """Return a part of the picture as linear light times coverage, and the coverage."""
    height, width = rows.stop - rows.start, columns.stop - columns.start
    shift = Placement(float(samples), (-float(samples * columns.start), -float(samples * rows.start)))
    points = screen_points(figure.vertices, figure.placement.then(shift))
    fragments = rasterize(points, figure.model.triangles, height * samples, width * samples)
    shown = fragments.mask if weights is None else _smooth_region(figure.model, fragments, weights)
    light = np.clip(interpolate(fragments, figure.model.triangles, figure.colours), 0, 1)
    light *= shown[..., None]
    coverage = _averaged(shown.astype(np.float32)[..., None], samples)[..., 0]
    return _averaged(light, samples), coverage


def _smooth_region(
    model: MorphableModel, fragments: Fragments, weights: Float32[np.ndarray, "vertices 1"]
) -> Bool[np.ndarray, "height width"]:
    """Return the pixels that see the painted region with its edge smoothed, the mouth's interior left out."""
    # Index -1 (nothing seen) reads the last entry of the padded table; the mask is False there.
    mouth = np.append(model.mouth_triangles, False)[fragments.triangle]
    return fragments.mask & ~mouth & (interpolate(fragments, model.triangles, weights)[..., 0] > 0.5)


def _painted_weights(model: MorphableModel) -> Float32[np.ndarray, "vertices 1"]:
    """Return a weight per vertex that is above one half in the painted region, with a smooth edge."""
    triangles = model.triangles
    # The mouth's interior counts as painted here, so that the lips' inner edge stays where it is.
    of_triangle = (model.painted | model.mouth_triangles).astype(np.float64)
    corners = triangles.ravel()
    around = np.maximum(np.bincount(corners, minlength=model.vertex_count), 1)
    for _ in range(_SMOOTHINGS):
        total = np.bincount(corners, np.repeat(of_triangle, 3), model.vertex_count)
        of_vertex = total / around
        of_triangle = of_vertex[triangles].mean(axis=1)
    return of_vertex[:, None].astype(np.float32)


def _averaged(
    fine: Float32[np.ndarray, "fine_height fine_width channels"], samples: int
) -> Float32[np.ndarray, "height width channels"]:
    """Average blocks of samples x samples."""
    height, width, channels = fine.shape
    blocks = fine.reshape(height // samples, samples, width // samples, samples, channels)
    return blocks.mean(axis=(1, 3), dtype=np.float32)


def _outline(mask: Bool[np.ndarray, "size size"]) -> Bool[np.ndarray, "size size"]:
    """Return a band of four samples along a mask's edge; the picture's border counts as outside."""
    picture = Image.fromarray(np.pad(mask, 2).astype(np.uint8) * 255)
    grown = np.asarray(picture.filter(ImageFilter.MaxFilter(5)))[2:-2, 2:-2]
    shrunk = np.asarray(picture.filter(ImageFilter.MinFilter(5)))[2:-2, 2:-2]
    return grown != shrunk
