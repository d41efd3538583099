"""A reconstructed face's photo laid out on the texture atlas.

Texels that the photo shows are read from it at its own resolution. The rest is filled from the face's other
side, then with the model's reflectance in the estimated light, and blended so that no seam shows.
What is in front of a face, a hand or glasses, isn't known and is painted onto it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageFilter

from inversefacenet.colour import to_uint8
from inversefacenet.errors import ExportError
from inversefacenet.rasterizer import Fragments, interpolate, rasterize
from inversefacenet.reconstruction import Reconstruction
from inversefacenet.texture.atlas import FaceAtlas, load_atlas
from inversefacenet.texture.filling import Filling, applied, fill, residual
from inversefacenet.texture.gutter import fill_gutter
from inversefacenet.texture.model_colours import modelled_colours
from inversefacenet.texture.sampling import PhotoSampler
from inversefacenet.texture.visibility import View, smoothstep

NOTHING: Final = 0
PHOTO: Final = 1
MIRRORED: Final = 2
MODEL: Final = 3
"""Where a texel comes from."""

SMALLEST_TEXTURE: Final = 256
LARGEST_TEXTURE: Final = 4096
DEFAULT_TEXTURE: Final = 1024

PLAN_SIZE: Final = 512
"""Texels on a side of the smooth fields that say what comes from where, for textures of any size."""

_STRIP_TEXELS: Final = 1 << 20
# Linear colours from which on a channel may have been cut off.
_OVEREXPOSED: Final = (0.85, 0.97)
# The painted region ends amid the brows; so many texels of the plan around it belong to them.
_SURE_RINGS: Final = 8
# Cosine to the viewer above which that region shows nothing but the face, even if the fit is off.
_SURE_FACING: Final = 0.5


@dataclass(frozen=True, eq=False)
class Texture:
    """A face's texture.

    Attributes:
        image: sRGB texels, laid out as `FaceAtlas` says.
        source: What each texel shows most of: `PHOTO`, the photo's other side (`MIRRORED`), the face model
            (`MODEL`), or `NOTHING` outside the islands, where colours continue for filters that reach there.
    """

    image: UInt8[np.ndarray, "size size 3"]
    source: UInt8[np.ndarray, "size size"]


def check_texture_size(size: int) -> int:
    """Return a texture's size after checking it.

    Raises:
        ExportError: If it isn't from 256 to 4096.
    """
    if not SMALLEST_TEXTURE <= size <= LARGEST_TEXTURE:
        raise ExportError(
            f"A texture has from {SMALLEST_TEXTURE} to {LARGEST_TEXTURE} texels on a side, not {size}."
        )
    return size


def unwrap_photo(
    image: UInt8[np.ndarray, "height width 3"], reconstruction: Reconstruction, size: int = DEFAULT_TEXTURE
) -> Texture:
    """Make the texture of a reconstructed face from its photo.

    Args:
        image: The sRGB photo that the face was reconstructed from.
        reconstruction: The face.
        size: Texels on a side, 256 to 4096.

    Raises:
        ExportError: If the size is out of range, or there is no atlas for the reconstruction's face model.
        ImageError: If the photo has another size than the one that was reconstructed.
    """
    check_texture_size(size)
    reconstruction.check_photo(image)
    unwrapping = _Unwrapping.of(image, reconstruction, size)
    picture = np.empty((size, size, 3), np.uint8)
    source = np.empty((size, size), np.uint8)
    rows = max(1, _STRIP_TEXELS // size)
    for top in range(0, size, rows):
        strip = slice(top, min(top + rows, size))
        picture[strip], source[strip] = unwrapping.strip(size, strip)
    fill_gutter(picture, source > NOTHING)
    return Texture(picture, source)


@dataclass(frozen=True, eq=False)
class _Unwrapping:
    """A face and its photo, ready to be read texel by texel.

    Attributes:
        atlas: The layout.
        sampler: The photo.
        vertices: Of each vertex of the atlas: x and y in the photo's pixels, the photo's pixels that a
            texel of width 1 would cover across, and the model's linear colour.
        filling: What comes from where.
    """

    atlas: FaceAtlas
    sampler: PhotoSampler
    vertices: Float32[np.ndarray, "vertices 6"]
    filling: Filling

    @classmethod
    def of(
        cls, image: UInt8[np.ndarray, "height width 3"], reconstruction: Reconstruction, size: int
    ) -> _Unwrapping:
        """Look at the face once at a fixed size."""
        model, rendering = reconstruction.model, reconstruction.rendering
        atlas = load_atlas(model)
        height, width = image.shape[:2]
        view = View(model, rendering.vertices, reconstruction.photo_placement, (width, height))
        points = view.points[atlas.vertex]
        footprint = _footprint(points[:, :2], atlas)
        colours = modelled_colours(reconstruction)[atlas.vertex]
        vertices = np.concatenate([points[:, :2], footprint[:, None], colours], axis=1)
        front = footprint[view.facing[atlas.vertex] > 0.5]
        finest, coarsest = np.percentile(front, [10, 99]) if len(front) else (1.0, 1.0)
        sampler = PhotoSampler.around(image, points[:, :2], float(finest) / size, float(coarsest) / size)

        fragments = atlas_fragments(atlas, PLAN_SIZE, slice(0, PLAN_SIZE))
        facing = np.stack([points[:, 2], view.facing[atlas.vertex]], axis=1)
        texels = interpolate(fragments, atlas.triangles, np.concatenate([vertices, facing], axis=1))
        inside = fragments.mask
        known = texels[inside]
        seen = np.zeros(inside.shape, np.float32)
        seen[inside] = view.weights(known[:, :2], known[:, 6], known[:, 7])
        coarse = PhotoSampler.around(
            image, points[:, :2], float(finest) / PLAN_SIZE, float(coarsest) / PLAN_SIZE
        )
        residuals = np.zeros((*inside.shape, 3), np.float32)
        colours = coarse(known[:, :2], known[:, 2] / PLAN_SIZE)
        residuals[inside] = residual(colours, known[:, 3:6])
        clear = np.zeros(inside.shape, np.float32)
        clear[inside] = 1 - smoothstep(colours.max(axis=1), *_OVEREXPOSED)
        part = np.append(model.triangle_part + 1, 0).astype(np.uint8)[fragments.triangle]
        painted = Image.fromarray(np.append(model.painted, False)[fragments.triangle].astype(np.uint8))
        grown = np.asarray(painted.filter(ImageFilter.MaxFilter(2 * _SURE_RINGS + 1))) > 0
        sure = grown & inside & (texels[..., 7] > _SURE_FACING)
        return cls(atlas, sampler, vertices, fill(residuals, seen, clear, part, sure))

    def strip(
        self, size: int, rows: slice
    ) -> tuple[UInt8[np.ndarray, "rows size 3"], UInt8[np.ndarray, "rows size"]]:
        """Make some rows of the texture, and of its map of sources."""
        fragments = atlas_fragments(self.atlas, size, rows)
        texels = interpolate(fragments, self.atlas.triangles, self.vertices)
        inside = fragments.mask
        modelled = texels[..., 3:6]
        seen = np.zeros_like(modelled)
        seen[inside] = self.sampler(texels[inside][:, :2], texels[inside][:, 2] / size)
        photo, mirrored = (_enlarged(f, size, rows) for f in (self.filling.photo, self.filling.mirrored))
        offset, continued = (_enlarged(f, size, rows) for f in (self.filling.offset, self.filling.continued))
        other = residual(seen, modelled)[:, ::-1] + offset
        filled = applied(continued + (other - continued) * mirrored[..., None], modelled)
        colours = filled + (seen - filled) * photo[..., None]
        kinds = np.where(photo >= 0.5, PHOTO, np.where(mirrored >= 0.5, MIRRORED, MODEL))
        return to_uint8(colours), np.where(inside, kinds, NOTHING).astype(np.uint8)


def atlas_fragments(atlas: FaceAtlas, size: int, rows: slice) -> Fragments:
    """Return which triangle each texel of some rows lies in."""
    points = np.ones((len(atlas.uv), 3), np.float32)
    points[:, 0] = atlas.uv[:, 0] * size
    points[:, 1] = (1 - atlas.uv[:, 1]) * size - rows.start
    return rasterize(points, atlas.triangles, rows.stop - rows.start, size)


def _footprint(
    points: Float32[np.ndarray, "vertices 2"], atlas: FaceAtlas
) -> Float32[np.ndarray, " vertices"]:
    """Return, at each vertex, the photo's pixels across the whole width of the texture: an area's root."""
    areas = [_doubled_area(places[atlas.triangles]) for places in (points, atlas.uv)]
    corners = atlas.triangles.ravel()
    photo, texture = (np.bincount(corners, np.repeat(np.abs(area), 3), len(atlas.uv)) for area in areas)
    return np.sqrt(photo / np.maximum(texture, 1e-12)).astype(np.float32)


def _doubled_area(corners: Float32[np.ndarray, "triangles 3 2"]) -> Float32[np.ndarray, " triangles"]:
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _enlarged(
    field: Float32[np.ndarray, "plan plan *channels"], size: int, rows: slice
) -> Float32[np.ndarray, "rows size *channels"]:
    """Interpolate some rows of a field at a texture's size."""
    plan = len(field)
    box = (0, rows.start * plan / size, plan, rows.stop * plan / size)

    def one(channel: Float32[np.ndarray, "plan plan"]) -> Float32[np.ndarray, "rows size"]:
        picture = Image.fromarray(np.ascontiguousarray(channel))
        shape = (size, rows.stop - rows.start)
        return np.asarray(picture.resize(shape, Image.Resampling.BILINEAR, box=box))

    if field.ndim == 2:
        return one(field)
    return np.stack([one(field[..., channel]) for channel in range(field.shape[2])], axis=-1)
